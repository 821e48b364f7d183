"""Which training rows the landscape looks at: some of every part."""

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

AUTO_ROWS = 256
"""Rows of a part where `samples: auto` finds out how many parts are enough."""


def rows_per_part(settings: AffinityConfig, index: PartIndex) -> int:
    return AUTO_ROWS if settings.samples == "auto" else math.ceil(settings.samples / index.n_parts())


def chosen_part(source: Source, number: int) -> Part:
    """The chosen rows of a part: `affinity.samples` of them in all parts together, by `affinity.sampling`."""
    part = source.part(number)
    n = rows_per_part(source.settings, source.index)
    if n >= len(part):
        return part
    if source.settings.sampling == "random":
        rows = np.arange(n)  # rows were shuffled before they were cut into parts
    elif source.settings.sampling == "variability":
        rows = most_variable(source.states(number)[-1].variability, n)
    else:
        rows = stratified(part.labels, source.index.tasks, n, generator(Stream.LANDSCAPE_ROWS, source.seed, number))
    return Part(part.samples[rows], part.inputs[rows], part.labels[rows])


def most_variable(variability: np.ndarray, n: int) -> np.ndarray:
    """The n rows whose confidence, in the mean over their labelled tasks, varied most over the epochs (the ambiguous
    ones of the data map), in ascending order. variability: (rows, K), NaN where a label is missing."""
    present = ~np.isnan(variability)
    mean = np.where(present, variability, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return np.sort(np.argsort(-mean, kind="stable")[:n])


def stratified(labels: np.ndarray, tasks: Sequence[Task], n: int, rng: np.random.Generator) -> np.ndarray:
    """n rows in which the classes of all tasks are represented as evenly as they can be, in ascending order: again and
    again a random row of the class that has fewest so far. labels: (rows, K)."""
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
        own = waiting[rarest]
        while own and taken[own[-1]]:
            own.pop()
        if not own:
            count[rarest] = np.inf
            continue
        row = own.pop()
        taken[row] = True
        count[of_row[row][of_row[row] != MISSING]] += 1
    unlabelled = [row for row in shuffled if not taken[row]]
    taken[unlabelled[: n - int(taken.sum())]] = True
    return np.flatnonzero(taken)


def classes_of(labels: np.ndarray, tasks: Sequence[Task]) -> list[np.ndarray]:
    """For each task the classes (n,) of its labels, -1 where missing; a regression has one class."""
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
    """For each task the number of its labels of each class; of a regression, of all."""
    counts = [np.zeros(task.n_classes) for task in tasks]
    for labels in label_blocks:
        for t, (task, own) in enumerate(zip(tasks, classes_of(labels, tasks), strict=True)):
            counts[t] += np.bincount(own[own != MISSING], minlength=task.n_classes)
    return counts


def balanced_weights(labels: np.ndarray, tasks: Sequence[Task], counts: Sequence[np.ndarray]) -> np.ndarray:
    """Weights w (n, K): 1 / (classes that occur x samples of the class); 0 where a label is missing. Of all samples
    that were counted, each task's weights sum to 1."""
    weights = np.zeros(labels.shape)
    for t, own in enumerate(classes_of(labels, tasks)):
        with np.errstate(divide="ignore"):
            of_class = np.where(counts[t] > 0, 1 / counts[t], 0) / max(1, (counts[t] > 0).sum())
        weights[:, t] = np.where(own == MISSING, 0, of_class[own])
    return weights
