"""Correlations of the tasks' labels, and of a network's outputs for them: cheap references.

Of two tasks with one column each (binary, regression) it is Pearson's correlation, negative ones too; where one has a
column for each class, the root of the RV coefficient |C_ab|_F^2 / (|C_aa|_F |C_bb|_F) of their covariances (Robert and
Escoufier 1976), which is the absolute correlation where there is one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Estimator, Need, Partial, task_names
from stg_ray.affinities.gradients.samples import classes_of
from stg_ray.affinities.jackknife import Sums, fold_sums, jackknife
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import Task
from stg_ray.tasks.labels import MISSING, observed
from stg_ray.training.evaluation import evaluate

ROUNDING, LEAST_VARIANCE = 1e-9, 1e-12
"""A task that is constant has no correlation. What is left of its variance is rounding, in units of its squares."""


class LabelCorrelation(Estimator):
    """The correlation of labels over the rows that both tasks have labels for.

    A class of a multi-class task is a column of zeros and ones. Subclasses correlate other columns.

    Attributes:
        keys: the sums of a partial. Those of a run that an older version began have another, which is not needed.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"common_samples"})
    kind: ClassVar[Kind] = "affinity"
    about: ClassVar[str] = "Correlation of the tasks' labels."
    keys: ClassVar[tuple[str, ...]] = ("count", "sums", "squares", "products", "samples")

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.tasks = source.index.tasks

    @classmethod
    def column_owners(cls, tasks: Sequence[Task]) -> np.ndarray:
        """Return the index (O,) of the task that each of the O columns belongs to, in ascending order."""
        return np.repeat(np.arange(len(tasks)), [task.n_outputs for task in tasks])

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the values (n, O) of all columns in a part, 0 where there is none, and where tasks have any (n, K)."""
        part = self.source.part(number)
        return label_columns(part.labels, self.tasks), observed(part.labels)

    def partial(self, number: int) -> Partial:
        """Compute the moments of a part's columns."""
        return {**moments(*self.columns(number)), "samples": np.array(self.source.index.rows["train"][number])}

    @classmethod
    def statistic(cls, sums: Sums, tasks: Sequence[Task]) -> np.ndarray:
        """Compute the correlations (K, K) from sums over all rows."""
        return correlations(sums, cls.column_owners(tasks))

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the correlations, with jackknife errors over folds of the parts."""
        folds = fold_sums(cls._sums(partials))
        values, errors = jackknife(folds, lambda sums: cls.statistic(sums, tasks))
        samples = int(sum(fold["samples"] for fold in folds))
        return TaskMatrix(task_names(tasks), values, cls.kind, samples=samples, errors=errors)

    @classmethod
    def values(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> np.ndarray:
        """Compute the correlations alone: errors take four times as long."""
        (total,) = fold_sums(cls._sums(partials), n_folds=1)
        return cls.statistic(total, tasks)

    @classmethod
    def _sums(cls, partials: Iterable[Partial]) -> Iterable[Sums]:
        return ({key: partial[key] for key in cls.keys} for partial in partials)


class LogitCorrelation(LabelCorrelation):
    """The correlation of the network's outputs at all training rows, labelled or not.

    The outputs of a multi-class task are centred at their mean over classes, which changes no probability.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"network"})
    about: ClassVar[str] = "Correlation of the profiled network's outputs for the tasks."

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.network = source.network()

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs (n, O) for a part, and that every task has some (n, K)."""
        inputs = self.source.part(number).inputs
        blocks = [torch.tensor(inputs[start : start + 256]) for start in range(0, len(inputs), 256)]
        outputs = torch.cat([evaluate(self.network, rows.to(self.source.device)) for rows in blocks]).double().numpy()
        for task, columns in zip(self.tasks, self.network.layout.columns, strict=True):
            if task.kind == "multiclass":
                outputs[:, columns] -= outputs[:, columns].mean(axis=1, keepdims=True)
        return outputs, np.ones((len(outputs), len(self.tasks)), dtype=bool)


def label_columns(labels: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """Return the labels as columns (n, O), in float64, 0 where missing.

    A multi-class task has one column of zeros and ones for each class, a binary task its labels, and a regression its
    standardised values: sums of squares far from zero leave no digits for their variance, least of all in the single
    precision of resampled parts. Correlations are the same.

    Args:
        labels: (n, K) as stored.
        tasks: the K tasks.
    """
    columns = []
    for t, (task, classes) in enumerate(zip(tasks, classes_of(labels, tasks), strict=True)):
        if task.kind == "multiclass":
            columns.append((classes[:, None] == np.arange(task.n_outputs)).astype(np.float64))
        else:
            values = (labels[:, t].astype(np.float64) - task.center) / task.scale
            columns.append(np.where(classes == MISSING, 0, values)[:, None])
    return np.concatenate(columns, axis=1)


def moments(values: np.ndarray, present: np.ndarray) -> Sums:
    """Compute the sums from which covariances over common rows follow; they add over rows.

    Args:
        values: (n, O) columns, 0 where there is no value.
        present: (n, K) where a task has values.

    Returns:
        `count` (K, K) of common rows, `sums` and `squares` (O, K) of a column's values over the rows that a task has,
        and `products` (O, O). Where every task has all rows, the same in one column: `count` (1, 1), the others (O, 1).
    """
    products = values.T @ values
    if present.all():
        count = np.full((1, 1), float(len(present)))
        sums, squares = (v.sum(axis=0)[:, None] for v in (values, values**2))
    else:
        mask = present.astype(np.float64)
        count, sums, squares = mask.T @ mask, values.T @ mask, (values**2).T @ mask
    return {"count": count, "sums": sums, "squares": squares, "products": products}


def correlations(sums: Sums, owner: np.ndarray) -> np.ndarray:
    """Compute the correlations (K, K) from moments; NaN for pairs without common rows and for constant tasks.

    Args:
        sums: as `moments` returns them.
        owner: (O,) the task of each column, in ascending order.
    """
    n_tasks = owner[-1] + 1
    if len(owner) == n_tasks:
        return _of_single_columns(sums)
    starts = np.searchsorted(owner, np.arange(n_tasks))
    single = np.bincount(owner, minlength=n_tasks) == 1
    counts = np.broadcast_to(sums["count"], (n_tasks, n_tasks))
    of_columns, of_squares = (np.broadcast_to(sums[key], (len(owner), n_tasks)) for key in ("sums", "squares"))
    with np.errstate(invalid="ignore", divide="ignore"):
        count = counts[np.ix_(owner, owner)]
        means = of_columns[:, owner] / count
        covariance = sums["products"] / count - means * means.T
        squares = np.add.reduceat(np.add.reduceat(covariance**2, starts, axis=0), starts, axis=1)
        # |C_aa|_F over the rows common with b: of one column its variance there; of several, over all rows of a.
        variance = of_squares[starts] / counts - (of_columns[starts] / counts) ** 2
        norms = np.where(single[:, None], variance, np.sqrt(np.diag(squares))[:, None])
        rounding = np.where(single[:, None], ROUNDING * of_squares[starts] / counts, 0)
        norms[norms <= np.maximum(rounding, LEAST_VARIANCE)] = np.nan
        size = np.sqrt(squares / (norms * norms.T))
    sign = np.where(np.outer(single, single), np.sign(covariance[np.ix_(starts, starts)]), 1)
    clipped: np.ndarray = np.clip(sign * size, -1, 1)
    return clipped


def _of_single_columns(sums: Sums) -> np.ndarray:
    """Compute the correlations (K, K) of tasks with a column each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = sums["sums"] / sums["count"], sums["squares"] / sums["count"]
        variance = square - mean**2
        variance[variance <= np.maximum(ROUNDING * square, LEAST_VARIANCE)] = np.nan
        result: np.ndarray = sums["products"] / sums["count"]
        result -= mean * mean.T
        result /= np.sqrt(variance * variance.T)
    return np.clip(result, -1, 1, out=result)
