"""Correlations of tasks adjusted for base rates: of the confidences in the data maps, and of the network's outputs.

Rare labels are confidently right everywhere, so that plain correlations group tasks by how rare they are. What base
rates alone would give is, at every sample, a value common to all tasks and one in proportion to a task's log-odds. So
with R the correlations (K, K) and V (K, F) the centred log-odds of the base rates, one column for each way in which
rates act, the adjusted correlations are those of

    P R P^T,  P = (I - V (V^T V + K tau^2 I)^-1 V^T) (I - 1 1^T / K):

the correlations of what is left of the tasks' values after regression, at each sample, on a constant and on the
log-odds of the rates. It needs nothing but R and the classes' counts, which add over parts. tau is the spread of
log-odds below which rates tell tasks apart by chance only, and little is taken out.

The rates' log-odds are those of a binary task's positives, and those of the confidence in the true label that the
rates alone would give, q = sum of the squares of the classes' rates.

A network's outputs have a sign: the outputs for a label and for its absence are opposite, though both are one problem.
So the outputs of a binary task count for its rarer class. Where classes are about as frequent, neither is marked, and
the size of a correlation counts: with o = (1/2 - rate) / 0.05 within [-1, 1], R_ab is o_a o_b R_ab + (1 - |o_a o_b|)
|R_ab|. Of a regression neither direction is marked (o = 0): y and -y are one problem.

Measured on 11 sets (jobs/bench/rarity.py): both together found known groups with a mean adjusted Rand index of 0.95,
where confidence_correlation has 0.83 and data_map with landscape 0.69; where nothing known follows the rates their
groups explain 0.04 of the variance of log(positives), instead of 0.51 and 0.58.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Need, Partial
from stg_ray.affinities.confidence import ConfidenceCorrelation
from stg_ray.affinities.correlation import LabelCorrelation, LogitCorrelation
from stg_ray.affinities.gradients.samples import class_counts
from stg_ray.affinities.jackknife import Sums
from stg_ray.tasks import Task

SPREAD = 0.3
"""tau, in log-odds. From 0.1 to 1 it hardly changed the agreement with known groups (mean adjusted Rand index of both
affinities together 0.87 to 0.88); at 1, groups followed the rates more (0.34 of the variance of log(positives) instead
of 0.26)."""

MARKED = 0.05
"""A class whose rate is below 1/2 by this much is the marked one, whose presence a task is about."""

MIN_TASKS = 6
"""Of fewer tasks the few directions that they differ in cannot be told from the rates: only the constant is removed."""


class Adjusted(LabelCorrelation):
    """The base of correlations that are adjusted for base rates: the classes are counted beside the moments.

    Attributes:
        signed: whether a binary task's values change their sign with its classes.
    """

    signed: ClassVar[bool]
    keys: ClassVar[tuple[str, ...]] = (*LabelCorrelation.keys, "classes")

    def partial(self, number: int) -> Partial:
        """Compute the moments of a part's columns, and `classes` (K, C), the rows of each class."""
        counts = class_counts([self.source.part(number).labels], self.tasks)
        return {**super().partial(number), "classes": padded(counts)}

    @classmethod
    def statistic(cls, sums: Sums, tasks: Sequence[Task]) -> np.ndarray:
        """Compute the adjusted correlations (K, K) from sums over all rows."""
        values = super().statistic(sums, tasks)
        if cls.signed:
            values = oriented(values, sums["classes"], tasks)
        return without_rates(values, rate_columns(sums["classes"], tasks))


class ConfidenceAdjusted(Adjusted, ConfidenceCorrelation):
    """The correlation of the tasks' data maps, adjusted for base rates."""

    signed: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Correlation of the tasks' data maps, adjusted for base rates: large where the same samples are easy and the "
        "same are hard for both, beyond what the labels' rarity alone would give."
    )


class LogitAdjusted(Adjusted, LogitCorrelation):
    """The correlation of the network's outputs, adjusted for base rates."""

    signed: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"network", "trained_heads"})
    about: ClassVar[str] = (
        "Correlation of the profiled network's outputs for the tasks, adjusted for base rates: large where the network "
        "sees the same in both, beyond what the labels' rarity alone would give."
    )


def padded(counts: Sequence[np.ndarray]) -> np.ndarray:
    """Return the tasks' counts of classes as rows (K, C), with zeros after a task's last class."""
    result = np.zeros((len(counts), max(map(len, counts))))
    for row, own in zip(result, counts, strict=True):
        row[: len(own)] = own
    return result


def rates_of(classes: np.ndarray, n_classes: int) -> np.ndarray:
    """Return the rates (n_classes,) of a task's classes; half a row more of each: some folds may have none."""
    counts = classes[:n_classes] + 0.5
    rates: np.ndarray = counts / counts.sum()
    return rates


def rate_columns(classes: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Compute the log-odds of the base rates (K, 2), centred; 0 for tasks without such a rate.

    Args:
        classes: (K, C) rows of each class.
        tasks: the K tasks.

    Returns:
        Columns of the log-odds of the positives of binary tasks, and of the confidence that the rates alone would give.
    """
    columns = np.full((len(tasks), 2), np.nan)
    for row, counts, task in zip(columns, classes, tasks, strict=True):
        if task.kind == "regression":
            continue
        rates = rates_of(counts, task.n_classes)
        if task.kind == "binary":
            row[0] = np.log(rates[1] / rates[0])
        by_chance = np.square(rates).sum()
        row[1] = np.log(by_chance / (1 - by_chance))
    known = ~np.isnan(columns)
    means = np.where(known, columns, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, columns - means, 0.0)


def oriented(values: np.ndarray, classes: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Return correlations (K, K) as they are if every binary task's outputs are those for its rarer class, and those of
    regressions have no direction.

    Args:
        values: (K, K) correlations.
        classes: (K, C) rows of each class.
        tasks: the K tasks.
    """
    marked = np.ones(len(tasks))
    for t, task in enumerate(tasks):
        if task.kind == "binary":
            marked[t] = np.clip((0.5 - rates_of(classes[t], 2)[1]) / MARKED, -1, 1)
        elif task.kind == "regression":
            marked[t] = 0
    sign = np.outer(marked, marked)
    np.fill_diagonal(sign, 1)
    return np.asarray(sign * values + (1 - np.abs(sign)) * np.abs(values))


def without_rates(values: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the correlations that are left without a constant and without the base rates.

    Args:
        values: (K, K) correlations; NaN for pairs without a value, and for tasks that are constant.
        rates: (K, F) log-odds of the base rates, centred, as `rate_columns` returns them.

    Returns:
        (K, K), NaN where `values` are. Two tasks alone keep their correlation.

    Example:
        >>> import numpy as np
        >>> rare = np.array([0.0, 0, 0, 2, 2, 2])
        >>> alike = np.kron([[1, 1], [1, 1]], np.array([[1.0, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1]]))
        >>> by_rarity = 0.5 * alike + 0.5 * (rare[:, None] == rare)
        >>> adjusted = without_rates(by_rarity, (rare - rare.mean())[:, None])
        >>> print(adjusted[0, [1, 3]].round(1))  # a task as rare as the first, and the one like it
        [-0.5  1. ]
    """
    usable = np.isfinite(np.diag(values))
    n_tasks = int(usable.sum())
    if n_tasks < 3:
        return values
    pairs = np.ix_(usable, usable)
    left = np.nan_to_num(values[pairs])
    left -= left.mean(axis=1, keepdims=True)
    left -= left.mean(axis=0)
    if n_tasks >= MIN_TASKS:  # from both sides, as products of K x F: P itself would make them K x K
        v = rates[usable] - rates[usable].mean(axis=0)
        fitted = np.linalg.solve(v.T @ v + n_tasks * SPREAD**2 * np.eye(v.shape[1]), v.T)
        left -= v @ (fitted @ left)
        left -= (left @ fitted.T) @ v.T
    scale = np.sqrt(np.maximum(np.diag(left), 0))
    scale[scale <= 1e-6] = np.nan
    result = np.full_like(values, np.nan)
    result[pairs] = np.clip(left / np.outer(scale, scale), -1, 1)
    return np.where(np.isnan(values), np.nan, result)
