"""Task sets on which something is known of the groups, each profiled once: for the benchmarks of the affinities.

Of a set is known a group for each task (`groups` in its file), or nothing; then it is only asked whether the groups
that are found follow how rare the labels are. Planted are

    thinned    labels several times over, with 1, 1/2, 1/4 and 1/8 of their positives: groups cross the rates
    turned     labels several times over, each time with a tenth of the values turned at random
    topics     bags of words of topics in a hierarchy; classes against the rest, or several rare labels of a document
    gaussian   half-spaces near to the direction of their group, of rates from 1 to 40 %
    conflict   two halves of tasks with the same inputs and opposite labels in half of the space
    random     handwritten digits, and as many tasks of random labels
    permuted   handwritten digits with permuted pixels, a permutation for each group; each task has rows of its own
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console
from sklearn.datasets import load_digits

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.progress import Reporter

Arrays = dict[str, np.ndarray]
"""inputs (n, ...), labels (n, K) with -1 for missing, names and, where known, groups of the tasks, split of the rows."""

COPIES, TURNED = 4, 0.1
THINNINGS = (1.0, 0.5, 0.25, 0.125)
MACHINES = {"airplane", "automobile", "ship", "truck"}


@dataclass(frozen=True)
class KnownSet:
    """A task set of the benchmarks.

    Attributes:
        build: makes its arrays, from a seed.
        epochs: of the profile: enough to train the heads.
        folder: of STG_RAY_DATA, which must be there.
        own_rows: whether tasks share no samples.
        settings: sections that differ from the defaults.
    """

    build: Callable[[int], Arrays]
    epochs: int
    folder: str | None = None
    own_rows: bool = False
    settings: dict[str, Any] | None = None

    @property
    def is_there(self) -> bool:
        """Whether its data is."""
        return self.folder is None or (data_root() / self.folder).is_dir()


def data_root() -> Path:
    """Return $STG_RAY_DATA."""
    return Path(os.environ.get("STG_RAY_DATA", "nowhere"))


def profiled(name: str, seed: int, folder: Path, *, quick: bool, methods: Sequence[str] | None = None) -> RunDir:
    """Run a set up to its profile, or up to its affinities if any are named; what is there already is not run again."""
    about = KNOWN_SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{seed}.npz"
    if not path.exists():
        arrays = about.build(seed)
        split = arrays.pop("split", None)
        if split is None:
            split = np.where(np.arange(len(arrays["inputs"])) % 5 == 4, "test", "train")
        np.savez(path, **arrays, split=split)
    values = {
        "seed": seed,
        "data": {"npz": str(path), "constant_tasks": "drop"},
        "profile": {"epochs": 2 if quick else about.epochs, "workers": 1},
        **(about.settings or {}),
    }
    if methods:
        values["affinity"] = {**values.get("affinity", {}), "methods": list(methods)}
    elif about.own_rows:
        values["affinity"] = {**values.get("affinity", {}), "methods": ["landscape"]}
    out = str(folder / f"{name}-{seed}{'-quick' if quick else ''}")
    until = "affinity" if methods else "profile"
    return sr.run(load_config(values), out, until=until, reporter=Reporter(Console(quiet=True))).run_dir


def _table(file: str, most: int | None = None, rates: tuple[float, float] = (0.0, 1.0)) -> Arrays:
    """Read a table of features and labels; of more labels than `most`, as many whose rates are spread evenly."""
    path = data_root() / file
    frame = pd.DataFrame(pq.read_table(path).to_pandas())
    if "fp_morgan2_2048" in frame:
        packed = np.stack([np.frombuffer(row, np.uint8) for row in frame["fp_morgan2_2048"]])
        inputs = np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32)
    else:
        inputs = frame.filter(regex="^x_").to_numpy(np.float32)
    columns = [c for c in frame.columns if str(c).startswith("y_")]
    labels = frame[columns].to_numpy(np.float64)
    labels = np.where(np.isnan(labels), -1, labels).astype(np.int8)
    rate = (labels == 1).sum(axis=0) / np.maximum((labels >= 0).sum(axis=0), 1)
    kept = np.flatnonzero((rate >= rates[0]) & (rate <= rates[1]) & ((labels == 1).sum(axis=0) >= 20))
    if most is not None and len(kept) > most:
        order = kept[np.argsort(-rate[kept], kind="stable")]
        kept = np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(inputs))[:6000]
    return {"inputs": inputs[rows], "labels": labels[rows][:, kept], "names": np.array([columns[c] for c in kept])}


def _copied(arrays: Arrays, labels: Sequence[np.ndarray], about: Sequence[str]) -> Arrays:
    """Return the tasks several times over, with other labels each time."""
    names = [f"{name} {text}" for text in about for name in arrays["names"]]
    groups = np.concatenate([arrays["names"]] * len(about))
    return {"inputs": arrays["inputs"], "labels": np.concatenate(labels, axis=1), "names": np.array(names), "groups": groups}


def turned(arrays: Arrays, seed: int) -> Arrays:
    """Return each task `COPIES` times, each time with some values turned."""
    rng, labels = np.random.default_rng([1, seed]), arrays["labels"]
    copies = [
        np.where((rng.random(labels.shape) < TURNED) & (labels >= 0), 1 - labels, labels).astype(np.int8)
        for _ in range(COPIES)
    ]
    return _copied(arrays, copies, [f"copy {i}" for i in range(COPIES)])


def thinned(arrays: Arrays, seed: int) -> Arrays:
    """Return each task once for each of `THINNINGS`, the share of its positives that are left."""
    rng, labels = np.random.default_rng([2, seed]), arrays["labels"]
    copies = [
        np.where((labels == 1) & (rng.random(labels.shape) >= share), 0, labels).astype(np.int8) for share in THINNINGS
    ]
    return _copied(arrays, copies, [f"thinned to {share}" for share in THINNINGS])


def topics(seed: int, sizes: Sequence[int], *, n: int, several: bool, rates: tuple[float, float] | None = None) -> Arrays:
    """Make documents as bags of words: each class has words of its own, and words of its group.

    Args:
        sizes: classes of each group.
        n: documents.
        several: a document may have several labels, of the rates; else it has one, and the rates are equal.
        rates: the lowest and highest rate; they are spread evenly (in logarithms) within every group.
    """
    rng = np.random.default_rng([3, seed])
    group = np.repeat(np.arange(len(sizes)), sizes)
    n_tasks, n_words = len(group), 600
    common = rng.dirichlet(np.full(n_words, 0.3))
    of_group = rng.dirichlet(np.full(n_words, 0.03), len(sizes))[group]
    of_class = rng.dirichlet(np.full(n_words, 0.03), n_tasks)
    words = 0.35 * of_group + 0.65 * of_class
    if several:
        assert rates is not None
        rate = np.concatenate([rng.permutation(np.geomspace(*rates, size)) for size in sizes])
        theme = rng.random((n, len(sizes))) < 0.35  # what a document is about raises the rates of a group
        chance = np.minimum(rate * np.where(theme, 2.5, 0.2)[:, group], 0.9)
        labels = rng.random((n, n_tasks)) < chance
    else:
        labels = np.eye(n_tasks, dtype=bool)[rng.integers(0, n_tasks, n)]
    weight = np.concatenate([np.ones((n, 1)), labels * 1.5], axis=1)
    mixture = weight @ np.concatenate([common[None], words])
    mixture /= mixture.sum(axis=1, keepdims=True)
    length = rng.integers(30, 120, n)
    counts = np.stack([rng.multinomial(m, p) for m, p in zip(length, mixture, strict=True)])
    names = [f"{g}.{i}" for g, size in enumerate(sizes) for i in range(size)]
    return {
        "inputs": np.log1p(counts).astype(np.float32),
        "labels": labels.astype(np.int8),
        "names": np.array(names),
        "groups": np.array([f"group {g}" for g in group]),
    }


def gaussian(seed: int, *, n_groups: int = 6, size: int = 6, n: int = 3000, near: float = 0.75) -> Arrays:
    """Make half-spaces whose directions are near to that of their group, of rates that every group has."""
    rng = np.random.default_rng([4, seed])
    n_features = 30
    inputs = rng.normal(size=(n, n_features)).astype(np.float32)
    group = np.repeat(np.arange(n_groups), size)
    centre = np.linalg.qr(rng.normal(size=(n_features, n_groups)))[0].T[group]
    own = rng.normal(size=(len(group), n_features)) / np.sqrt(n_features)
    score = inputs @ (near * centre + np.sqrt(1 - near**2) * own).T + 0.3 * rng.normal(size=(n, len(group)))
    rate = np.concatenate([rng.permutation(np.geomspace(0.01, 0.4, size)) for _ in range(n_groups)])
    labels = np.stack([s > np.quantile(s, 1 - r) for s, r in zip(score.T, rate, strict=True)], axis=1)
    names = np.array([f"{g}.{t}" for t, g in enumerate(group)])
    return {"inputs": inputs, "labels": labels.astype(np.int8), "names": names, "groups": group.astype(str)}


def conflict(seed: int, *, n_tasks: int = 12, n: int = 2000) -> Arrays:
    """Make tasks of which one half has opposite labels where the first input is positive."""
    rng = np.random.default_rng([5, seed])
    inputs = rng.normal(size=(n, 12)).astype(np.float32)
    base = inputs[:, 1:] @ rng.normal(size=(11, 1))
    score = base + inputs[:, 1:] @ rng.normal(size=(11, n_tasks)) * 0.5
    half = np.arange(n_tasks) % 2
    opposite = (inputs[:, :1] > 0) & (half == 1)
    labels = (score > 0) ^ opposite
    names = np.array([f"task {t}" for t in range(n_tasks)])
    return {"inputs": inputs, "labels": labels.astype(np.int8), "names": names, "groups": half.astype(str)}


def _digits() -> Arrays:
    bunch = load_digits()
    labels = (bunch.target[:, None] == np.arange(10)).astype(np.int8)
    return {"inputs": bunch.data.astype(np.float32) / 16, "labels": labels, "names": np.array([f"digit {d}" for d in range(10)])}


def random_tasks(seed: int) -> Arrays:
    """Make tasks of digits, three times each with values turned, and as many tasks of random labels."""
    rng = np.random.default_rng([6, seed])
    real = turned(_digits(), seed)
    rates = np.geomspace(0.05, 0.5, 10)
    labels = (rng.random((len(real["inputs"]), 10)) < rates).astype(np.int8)
    return {
        "inputs": real["inputs"],
        "labels": np.concatenate([real["labels"], labels], axis=1),
        "names": np.concatenate([real["names"], [f"random {t}" for t in range(10)]]),
        "groups": np.concatenate([real["groups"], ["random"] * 10]),
    }


def permuted(seed: int, *, n_groups: int = 4, size: int = 4) -> Arrays:
    """Make tasks of digits, each on rows of its own; those of a group see their pixels in the same order."""
    rng, bunch = np.random.default_rng([7, seed]), _digits()
    rows, n = np.arange(len(bunch["inputs"])), n_groups * size
    inputs, labels, names, groups = [], [], [], []
    for t in range(n):
        group, digit = t // size, t % size
        order = np.random.default_rng([7, seed, group]).permutation(64)
        own = rng.choice(rows, 400, replace=False)
        inputs.append(bunch["inputs"][own][:, order])
        column = np.full((400, n), -1, np.int8)
        column[:, t] = (bunch["labels"][own, 2 * digit] | bunch["labels"][own, 2 * digit + 1])
        labels.append(column)
        names.append(f"order {group}, digits {2 * digit} {2 * digit + 1}")
        groups.append(f"order {group}")
    order = rng.permutation(400 * n)
    return {
        "inputs": np.concatenate(inputs)[order],
        "labels": np.concatenate(labels)[order],
        "names": np.array(names),
        "groups": np.array(groups),
    }


def landmine(seed: int) -> Arrays:
    """Read the 29 fields: foliated ground, and bare."""
    del seed
    frame = pd.DataFrame(pq.read_table(data_root() / "own_rows/landmine.parquet").to_pandas())
    columns = [c for c in frame.columns if str(c).startswith("y_")]
    labels = frame[columns].to_numpy(np.float64)
    groups = ["foliated" if t < 15 else "bare" for t in range(len(columns))]
    return {
        "inputs": frame.filter(regex="^x_").to_numpy(np.float32),
        "labels": np.where(np.isnan(labels), -1, labels).astype(np.int8),
        "names": np.array(columns),
        "groups": np.array(groups),
    }


def images(preset: str, n: int, classes: int | None = None) -> Callable[[int], Arrays]:
    """Return a builder of images of a preset; of CIFAR-100 the first super-classes with so many classes."""

    def build(seed: int) -> Arrays:
        from stg_ray.data.sources import load_task_set

        task_set = load_task_set(load_config({"data": {"preset": preset}}).data, seed)
        groups = [str(task.group) for task in task_set.tasks]
        names = [task.name for task in task_set.tasks]
        kept = np.arange(len(names))
        if preset == "cifar10":
            groups = ["machine" if name in MACHINES else "animal" for name in names]
        if classes is not None:
            supers = sorted(set(groups))[: classes // 5]
            kept = np.array([t for t, group in enumerate(groups) if group in supers])
        rows = np.flatnonzero((task_set.labels[:, kept] == 1).any(axis=1))
        rows = np.sort(np.random.default_rng([8, seed]).choice(rows, n, replace=False))
        return {
            "inputs": task_set.inputs[rows],
            "labels": task_set.labels[rows][:, kept].astype(np.int8),
            "names": np.array(names)[kept],
            "groups": np.array(groups)[kept],
        }

    return build


NEWSGROUPS = (5, 4, 4, 3, 3, 1)
TEXT: dict[str, Any] = {"folder": "mulan"}
KNOWN_SETS: dict[str, KnownSet] = {
    "bibtex": KnownSet(lambda _: _table("mulan/bibtex.parquet"), 12, "mulan"),
    "delicious": KnownSet(lambda _: _table("mulan/delicious.parquet", 150), 12, "mulan"),
    "yeast": KnownSet(lambda _: _table("mulan/yeast.parquet"), 30, "mulan"),
    "sider": KnownSet(lambda _: _table("molecules/sider.parquet"), 15, "molecules"),
    "toxcast": KnownSet(lambda _: _table("molecules/toxcast.parquet", 100), 15, "molecules"),
    "topics, rare": KnownSet(lambda s: topics(s, [9] * 6, n=2000, several=True, rates=(0.004, 0.4)), 30),
    "topics, many": KnownSet(lambda s: topics(s, [12] * 10, n=4500, several=True, rates=(0.003, 0.2)), 15),
    "gaussian": KnownSet(gaussian, 30),
    "yeast, thinned": KnownSet(lambda s: thinned(_table("mulan/yeast.parquet"), s), 30, "mulan"),
    "bibtex, thinned": KnownSet(lambda s: thinned(_table("mulan/bibtex.parquet", 20, (0.03, 1)), s), 15, "mulan"),
    "yeast, turned": KnownSet(lambda s: turned(_table("mulan/yeast.parquet"), s), 30, "mulan"),
    "emotions, turned": KnownSet(lambda s: turned(_table("mulan/emotions.parquet"), s), 60, "mulan"),
    "scene, turned": KnownSet(lambda s: turned(_table("mulan/scene.parquet"), s), 30, "mulan"),
    "tox21, turned": KnownSet(lambda s: turned(_table("molecules/tox21.parquet"), s), 15, "molecules"),
    "newsgroups-like": KnownSet(lambda s: topics(s, NEWSGROUPS, n=4000, several=False), 15),
    "conflict": KnownSet(conflict, 40),
    "digits, turned": KnownSet(lambda s: turned(_digits(), s), 30),
    "digits and random": KnownSet(random_tasks, 30),
    "cifar10": KnownSet(images("cifar10", 10_000), 8, "cifar10"),
    "cifar100": KnownSet(images("cifar100", 10_000, 40), 10, "cifar100"),
    "permuted": KnownSet(permuted, 30, None, own_rows=True),
    "landmine": KnownSet(landmine, 10, "own_rows", own_rows=True),
}
