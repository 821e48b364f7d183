"""Planted task sets of `known_sets`, and tasks that are copied from real ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.datasets import load_digits

Arrays = dict[str, np.ndarray]
"""inputs (n, ...), labels (n, K) with -1 for missing, names of the tasks; groups of the tasks where they are known."""

COPIES, TURNED = 4, 0.1
THINNINGS = (1.0, 0.5, 0.25, 0.125)


def _copied(arrays: Arrays, labels: Sequence[np.ndarray], about: Sequence[str]) -> Arrays:
    """Return the tasks several times over, with other labels each time."""
    names = [f"{name} {text}" for text in about for name in arrays["names"]]
    groups = np.concatenate([arrays["names"]] * len(about))
    return {
        "inputs": arrays["inputs"],
        "labels": np.concatenate(labels, axis=1),
        "names": np.array(names),
        "groups": groups,
    }


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


def topics(
    seed: int, sizes: Sequence[int], *, n: int, several: bool, rates: tuple[float, float] | None = None
) -> Arrays:
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
    group = np.repeat(np.arange(n_groups), size)
    inputs, directions = _directions(rng, group, n, n_features=30, near=near)
    score = inputs @ directions.T + 0.3 * rng.normal(size=(n, len(group)))
    rate = np.concatenate([rng.permutation(np.geomspace(0.01, 0.4, size)) for _ in range(n_groups)])
    labels = np.stack([s > np.quantile(s, 1 - r) for s, r in zip(score.T, rate, strict=True)], axis=1)
    names = np.array([f"{g}.{t}" for t, g in enumerate(group)])
    return {"inputs": inputs, "labels": labels.astype(np.int8), "names": names, "groups": group.astype(str)}


def values(
    seed: int, *, n_groups: int = 4, size: int = 6, n: int = 2000, curved: bool = False, classes: bool = False
) -> Arrays:
    """Make regressions of directions near to that of their group, of any sign and unit.

    Args:
        seed: of all draws.
        n_groups: groups of tasks.
        size: tasks of a group.
        n: rows.
        curved: the values are no line of their direction, but a wave, whose phase is the task's.
        classes: every other task is a class, above a quantile of its values, of rates that every group has.
    """
    rng = np.random.default_rng([10, seed])
    group = np.repeat(np.arange(n_groups), size)
    inputs, directions = _directions(rng, group, n, n_features=20, near=0.8)
    score = inputs @ directions.T
    if curved:
        score = np.sin(1.5 * score + rng.uniform(0, np.pi, len(group)))
    score = score * rng.choice([-1, 1], len(group)) + 0.3 * rng.normal(size=score.shape)
    if classes:
        rates = np.concatenate([rng.permutation(np.geomspace(0.05, 0.4, size)) for _ in range(n_groups)])
        above = score > np.array([np.quantile(column, 1 - r) for column, r in zip(score.T, rates, strict=True)])
        labels = np.where(np.arange(len(group)) % 2 == 1, above, score * 10 ** rng.uniform(-1, 2, len(group)))
    else:
        labels = score * 10 ** rng.uniform(-1, 2, len(group))
    names = [f"{'class' if classes and t % 2 else 'value'} {g}.{t}" for t, g in enumerate(group)]
    return {
        "inputs": inputs,
        "labels": labels.astype(np.float32),
        "names": np.array(names),
        "groups": group.astype(str),
    }


def _directions(
    rng: np.random.Generator, group: np.ndarray, n: int, *, n_features: int, near: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs (n, n_features), and the direction of each task (K, n_features), near to that of its group (K,)."""
    inputs = rng.normal(size=(n, n_features)).astype(np.float32)
    centre = np.linalg.qr(rng.normal(size=(n_features, group.max() + 1)))[0].T[group]
    own = rng.normal(size=(len(group), n_features)) / np.sqrt(n_features)
    return inputs, near * centre + np.sqrt(1 - near**2) * own


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


def digits() -> Arrays:
    """Return scikit-learn's handwritten digits, each against the rest."""
    bunch = load_digits()
    labels = (bunch.target[:, None] == np.arange(10)).astype(np.int8)
    return {
        "inputs": bunch.data.astype(np.float32) / 16,
        "labels": labels,
        "names": np.array([f"digit {d}" for d in range(10)]),
    }


def random_tasks(seed: int) -> Arrays:
    """Make tasks of digits, three times each with values turned, and as many tasks of random labels."""
    rng = np.random.default_rng([6, seed])
    real = turned(digits(), seed)
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
    rng, bunch = np.random.default_rng([7, seed]), digits()
    rows, n = np.arange(len(bunch["inputs"])), n_groups * size
    inputs, labels, names, groups = [], [], [], []
    for t in range(n):
        group, digit = t // size, t % size
        order = np.random.default_rng([7, seed, group]).permutation(64)
        own = rng.choice(rows, 400, replace=False)
        inputs.append(bunch["inputs"][own][:, order])
        column = np.full((400, n), -1, np.int8)
        column[:, t] = bunch["labels"][own, 2 * digit] | bunch["labels"][own, 2 * digit + 1]
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
