"""Choice of the training rows whose gradients are compared, and the weights that balance their classes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stg_ray.affinities.source import Source
from stg_ray.config import AffinityConfig
from stg_ray.data.parts import Part, PartIndex
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task
from stg_ray.tasks.labels import MISSING

AUTO_ROWS, MOST_AUTO_PARTS = 256, 64
"""Rows of a part under `samples: auto`, which finds out how many parts are enough, and parts that may be."""
LEAST_PARTS, LEAST_ROWS = 16, 64
"""Of more than so many parts no more are looked at than have about so many rows: errors need parts, but the classes of
all tasks cannot be represented in a few rows, nor do these pay for opening a part."""


def parts_looked_at(settings: AffinityConfig, index: PartIndex) -> int:
    """Return the number of parts in which rows are chosen, the first ones: rows were shuffled before they were cut."""
    most = MOST_AUTO_PARTS
    if settings.samples != "auto":
        most = max(LEAST_PARTS, math.ceil(settings.samples / LEAST_ROWS))
    return min(index.n_parts(), most)


def rows_per_part(settings: AffinityConfig, index: PartIndex) -> int:
    """Return the number of rows that are chosen in each of these parts, at most."""
    if settings.samples == "auto":
        return AUTO_ROWS
    return math.ceil(settings.samples / parts_looked_at(settings, index))


def chosen_rows(source: Source, part: Part, number: int) -> np.ndarray | None:
    """Return the chosen rows of a part: `affinity.samples` of them in all of these parts, by `affinity.sampling`.

    Returns:
        (n,) indices; None for all rows.
    """
    n = rows_per_part(source.settings, source.index)
    if n >= len(part):
        return None
    if source.settings.sampling == "random":
        return np.arange(n)  # rows were shuffled before they were cut into parts
    if source.settings.sampling == "variability":
        return most_variable(source.states(number)[-1].variability, n)
    return stratified(part.labels, source.index.tasks, n, generator(Stream.LANDSCAPE_ROWS, source.seed, number))


def most_variable(variability: np.ndarray, n: int) -> np.ndarray:
    """Return the n rows whose confidence varied most over the epochs: the ambiguous ones of the data map.

    Args:
        variability: (rows, K), NaN where a label is missing. Its mean over a row's labelled tasks decides.
        n: rows to choose.

    Returns:
        (n,) indices in ascending order.
    """
    present = ~np.isnan(variability)
    mean = np.where(present, variability, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return np.sort(np.argsort(-mean, kind="stable")[:n])


def stratified(labels: np.ndarray, tasks: Sequence[Task], n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n rows in which the classes of all tasks are represented as evenly as they can be.

    Again and again a random row of the class that has fewest so far is taken; rows without labels come last.

    Args:
        labels: (rows, K) as stored.
        tasks: the K tasks.
        n: rows to choose, at most `rows`.
        rng: decides between equals.

    Returns:
        (n,) indices in ascending order.
    """
    widths = [task.n_classes for task in tasks]
    first = np.cumsum([0, *widths])
    classes = np.stack(classes_of(labels, tasks), axis=1)
    of_row = np.where(classes == MISSING, MISSING, classes + first[:-1])
    shuffled = rng.permutation(len(labels))
    waiting = [list(shuffled[of_row[shuffled, t] == first[t] + c]) for t, w in enumerate(widths) for c in range(w)]
    taken = np.zeros(len(labels), dtype=bool)
    count = rng.random(first[-1])  # less than one: chance decides between equals
    while taken.sum() < n and np.isfinite(count).any():
        rarest = int(count.argmin())
        of_class = waiting[rarest]
        while of_class and taken[of_class[-1]]:
            of_class.pop()
        if not of_class:
            count[rarest] = np.inf
            continue
        row = of_class.pop()
        taken[row] = True
        count[of_row[row][of_row[row] != MISSING]] += 1
    unlabelled = [row for row in shuffled if not taken[row]]
    taken[unlabelled[: n - int(taken.sum())]] = True
    return np.flatnonzero(taken)


def classes_of(labels: np.ndarray, tasks: Sequence[Task]) -> list[np.ndarray]:
    """Return for each task the classes (n,) of its labels (n, K), -1 where missing; a regression has one class."""
    columns = []
    for t, task in enumerate(tasks):
        column = labels[:, t]
        if task.kind == "regression":
            columns.append(np.where(np.isnan(column), MISSING, 0).astype(np.int64))
        else:
            filled = np.nan_to_num(column, nan=MISSING) if column.dtype.kind == "f" else column
            columns.append(filled.astype(np.int64))
    return columns


def class_counts(label_blocks: Sequence[np.ndarray], tasks: Sequence[Task]) -> list[np.ndarray]:
    """Count for each task its labels of each class (n_classes,), over all blocks (n, K); a regression has one class."""
    counts = [np.zeros(task.n_classes) for task in tasks]
    for labels in label_blocks:
        for t, (task, classes) in enumerate(zip(tasks, classes_of(labels, tasks), strict=True)):
            counts[t] += np.bincount(classes[classes != MISSING], minlength=task.n_classes)
    return counts


def balanced_weights(labels: np.ndarray, tasks: Sequence[Task], counts: Sequence[np.ndarray]) -> np.ndarray:
    """Compute weights (n, K) that give every class of a task the same part.

    A weight is 1 / (classes that occur x samples of the class), 0 where a label is missing. Over all samples that were
    counted, each task's weights sum to 1.

    Args:
        labels: (n, K) as stored.
        tasks: the K tasks.
        counts: as `class_counts` returns them.
    """
    weights = np.zeros(labels.shape)
    for t, classes in enumerate(classes_of(labels, tasks)):
        with np.errstate(divide="ignore"):
            of_class = np.where(counts[t] > 0, 1 / counts[t], 0) / max(1, (counts[t] > 0).sum())
        weights[:, t] = np.where(classes == MISSING, 0, of_class[classes])
    return weights
