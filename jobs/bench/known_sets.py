"""Task sets on which something is known of the groups, each profiled once: for the benchmarks of the affinities.

Of a set is known a group for each task (`groups` in its file), or nothing; then it is only asked whether the groups
that are found follow how rare the labels are. Planted are

    thinned    labels several times over, with 1, 1/2, 1/4 and 1/8 of their positives: groups cross the rates
    turned     labels several times over, each time with a tenth of the values turned at random
    topics     bags of words of topics in a hierarchy; classes against the rest, or several rare labels of a document
    gaussian   half-spaces near to the direction of their group, of rates from 1 to 40 %
    values     regressions near to the direction of their group, of any sign and unit; alone, or every other one a class
    waves      the same, and the values are waves along their direction, of any phase
    conflict   two halves of tasks with the same inputs and opposite labels in half of the space
    random     handwritten digits, and as many tasks of random labels
    permuted   handwritten digits with permuted pixels, a permutation for each group; each task has rows of its own
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from rich.console import Console

import stg_ray as sr
from jobs.bench.planted_sets import (
    Arrays,
    conflict,
    digits,
    gaussian,
    permuted,
    random_tasks,
    thinned,
    topics,
    turned,
    values,
)
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.progress import Reporter

MACHINES = {"airplane", "automobile", "ship", "truck"}


@dataclass(frozen=True)
class KnownSet:
    """A task set of the benchmarks.

    Attributes:
        build: makes its arrays, from a seed.
        epochs: of the profile: enough to train the heads.
        folder: of STG_RAY_DATA, which must be there.
        own_rows: whether tasks share no samples.
    """

    build: Callable[[int], Arrays]
    epochs: int
    folder: str | None = None
    own_rows: bool = False

    @property
    def is_there(self) -> bool:
        """Whether its data is."""
        return self.folder is None or (data_root() / self.folder).is_dir()


def data_root() -> Path:
    """Return $STG_RAY_DATA."""
    return Path(os.environ.get("STG_RAY_DATA", "nowhere"))


def profiled(name: str, seed: int, folder: Path, *, quick: bool) -> RunDir:
    """Run a set up to its profile. What is there already, by its fingerprint, is not run again."""
    about = KNOWN_SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{seed}.npz"
    if not path.exists():
        arrays = about.build(seed)
        split = np.where(np.arange(len(arrays["inputs"])) % 5 == 4, "test", "train")
        np.savez(path, split=split, **arrays)
    with np.load(path) as kept:
        tasks = told(kept)
    method = "landscape" if about.own_rows else "label_correlation"  # which have a meaning; not computed here
    config = load_config(
        {
            "seed": seed,
            "data": {"npz": str(path), "constant_tasks": "drop", "tasks": tasks},
            "profile": {"epochs": 2 if quick else about.epochs, "workers": 1},
            "affinity": {"methods": [method]},
        }
    )
    out = folder / f"{name}-{seed}-{config.fingerprint(('seed', 'data', 'model', 'profile'))}"
    return sr.run(config, str(out), until="profile", reporter=Reporter(Console(quiet=True))).run_dir


def read_table(file: str) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Read a table of $STG_RAY_DATA: all of it, its features x_* or fingerprints, and the names y_* of its labels."""
    frame = pd.DataFrame(pq.read_table(data_root() / file).to_pandas())
    columns = [str(c) for c in frame.columns if str(c).startswith("y_")]
    if "fp_morgan2_2048" not in frame:
        return frame, frame.filter(regex="^x_").to_numpy(np.float32), columns
    packed = np.stack([np.frombuffer(row, np.uint8) for row in frame["fp_morgan2_2048"]])
    return frame, np.unpackbits(packed, axis=1, bitorder="little").astype(np.float32), columns


def _table(file: str, most: int | None = None, rates: tuple[float, float] = (0.0, 1.0)) -> Arrays:
    """Read a table of features and labels; of more labels than `most`, as many whose rates are spread evenly."""
    frame, inputs, columns = read_table(file)
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


def toxcast(seed: int) -> Arrays:
    """Read a hundred assays of ToxCast, and their sources, which share cells, doses and rates: 0.66 of the variance of
    log(rate) lies between the eleven."""
    del seed
    arrays = _table("molecules/toxcast.parquet", 100)
    return arrays | {"groups": np.array([name.removeprefix("y_").partition("_")[0] for name in arrays["names"]])}


def landmine(seed: int) -> Arrays:
    """Read the 29 fields: foliated ground, and bare."""
    del seed
    frame, inputs, columns = read_table("own_rows/landmine.parquet")
    labels = frame[columns].to_numpy(np.float64)
    groups = ["foliated" if t < 15 else "bare" for t in range(len(columns))]
    return {
        "inputs": inputs,
        "labels": np.where(np.isnan(labels), -1, labels).astype(np.int8),
        "names": np.array(columns),
        "groups": np.array(groups),
    }


def school(seed: int) -> Arrays:
    """Read the 139 schools: scores of their own pupils, of which nothing is known."""
    del seed
    frame, inputs, columns = read_table("own_rows/school.parquet")
    return {"inputs": inputs, "labels": frame[columns].to_numpy(np.float32), "names": np.array(columns)}


def transformer(seed: int) -> Arrays:
    """Read ETTh1: the last 48 hours of seven series tell each of them a day later; a year is for training, four months
    for validation, four for tests, and series are standardised by the first."""
    del seed
    frame = pd.read_csv(data_root() / "series/ETTh1.csv").drop(columns="date")
    hours = np.array([12, 4, 4]).cumsum() * 30 * 24
    values = frame.to_numpy(np.float64)[: hours[-1]]
    values = (values - values[: hours[0]].mean(axis=0)) / values[: hours[0]].std(axis=0)
    last = np.arange(47, len(values) - 24)
    inputs = np.lib.stride_tricks.sliding_window_view(values, 48, axis=0)[: len(last)]  # (N, 7, 48)
    split = np.array(["train", "val", "test"])[np.searchsorted(hours, last + 24, side="right")]
    # A window of one split may see hours of the split before, as in use, but no target of it.
    return {
        "inputs": inputs.reshape(len(last), -1).astype(np.float32),
        "labels": values[last + 24].astype(np.float32),
        "names": frame.columns.to_numpy(str),
        "split": split,
    }


def two_domains(seed: int) -> Arrays:
    """Read scikit-learn's digits, twice as large, and 3,000 images of CIFAR-10, half as large and in grey: ten classes
    of each against the rest of their own."""
    photos, written = images("cifar10", 3_000)(seed), digits()
    grey = photos["inputs"].mean(axis=1).reshape(-1, 1, 16, 2, 16, 2).mean(axis=(3, 5))
    large = written["inputs"].reshape(-1, 1, 8, 8).repeat(2, axis=2).repeat(2, axis=3) * (255 / written["inputs"].max())
    n, k = len(large), written["labels"].shape[1]
    labels = np.full((n + len(grey), k + photos["labels"].shape[1]), -1, np.int8)
    labels[:n, :k], labels[n:, k:] = written["labels"], photos["labels"]
    order = np.random.default_rng([9, seed]).permutation(len(labels))  # the split is by the number of a row
    return {
        "inputs": np.concatenate([large, grey])[order].round().astype(np.uint8),
        "labels": labels[order],
        "names": np.concatenate([written["names"], photos["names"]]),
    }


def told(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, object]]:
    """Return what is to be said of labels: integers are classes, of which -1 is missing; of floating point, columns of
    other numbers than 0 and 1 are regressions, the whole numbers of small schools too."""
    regression: dict[str, object] = {"kind": "regression"}
    classes: dict[str, object] = {"missing": [-1]}
    if np.issubdtype(arrays["labels"].dtype, np.integer):
        return {"*": classes}
    is_regression = [not np.isin(column[~np.isnan(column)], (-1, 0, 1)).all() for column in arrays["labels"].T]
    if all(is_regression) or not any(is_regression):
        return {"*": regression if all(is_regression) else classes}
    return {str(name): regression if own else classes for name, own in zip(arrays["names"], is_regression, strict=True)}


def alphabets(seed: int) -> Arrays:
    """Read Omniglot's 50 alphabets: characters of their own images, of which nothing is known."""
    from stg_ray.data.sources import load_task_set

    task_set = load_task_set(load_config({"data": {"preset": "omniglot"}}).data, seed)
    rows = np.sort(np.random.default_rng([8, seed]).choice(len(task_set.inputs), 10_000, replace=False))
    names = np.array([task.name for task in task_set.tasks])
    return {"inputs": task_set.inputs[rows], "labels": task_set.labels[rows], "names": names}


def images(preset: str, n: int, classes: int | None = None) -> Callable[[int], Arrays]:
    """Return a builder of images of a preset; of CIFAR-100 the first super-classes with so many classes."""

    def build(seed: int) -> Arrays:
        from stg_ray.data.sources import load_task_set

        task_set = load_task_set(load_config({"data": {"preset": preset}}).data, seed)
        groups = [str(task.group) for task in task_set.tasks]
        names = [task.name for task in task_set.tasks]
        kept, rows = np.arange(len(names)), np.arange(len(task_set.inputs))
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
KNOWN_SETS: dict[str, KnownSet] = {
    "bibtex": KnownSet(lambda _: _table("mulan/bibtex.parquet"), 12, "mulan"),
    "delicious": KnownSet(lambda _: _table("mulan/delicious.parquet", 150), 12, "mulan"),
    "yeast": KnownSet(lambda _: _table("mulan/yeast.parquet"), 30, "mulan"),
    "sider": KnownSet(lambda _: _table("molecules/sider.parquet"), 15, "molecules"),
    "toxcast": KnownSet(toxcast, 15, "molecules"),
    "topics, rare": KnownSet(lambda s: topics(s, [9] * 6, n=2000, several=True, rates=(0.004, 0.4)), 30),
    "topics, many": KnownSet(lambda s: topics(s, [12] * 10, n=4500, several=True, rates=(0.003, 0.2)), 15),
    "gaussian": KnownSet(gaussian, 30),
    "values": KnownSet(values, 30),
    "values and classes": KnownSet(lambda s: values(s, classes=True), 30),
    "waves": KnownSet(lambda s: values(s, curved=True), 30),
    "yeast, thinned": KnownSet(lambda s: thinned(_table("mulan/yeast.parquet"), s), 30, "mulan"),
    "bibtex, thinned": KnownSet(lambda s: thinned(_table("mulan/bibtex.parquet", 20, (0.03, 1)), s), 15, "mulan"),
    "yeast, turned": KnownSet(lambda s: turned(_table("mulan/yeast.parquet"), s), 30, "mulan"),
    "emotions, turned": KnownSet(lambda s: turned(_table("mulan/emotions.parquet"), s), 60, "mulan"),
    "scene, turned": KnownSet(lambda s: turned(_table("mulan/scene.parquet"), s), 30, "mulan"),
    "tox21, turned": KnownSet(lambda s: turned(_table("molecules/tox21.parquet"), s), 15, "molecules"),
    "newsgroups-like": KnownSet(lambda s: topics(s, NEWSGROUPS, n=4000, several=False), 15),
    "conflict": KnownSet(conflict, 40),
    "digits, turned": KnownSet(lambda s: turned(digits(), s), 30),
    "digits and random": KnownSet(random_tasks, 30),
    "cifar10": KnownSet(images("cifar10", 10_000), 8, "cifar10"),
    "cifar100": KnownSet(images("cifar100", 10_000, 40), 10, "cifar100"),
    "permuted": KnownSet(permuted, 30, None, own_rows=True),
    "landmine": KnownSet(landmine, 10, "own_rows", own_rows=True),
}
