"""Correlations of what the tasks are predicted to be, and of what they are: cheap references.

Of two tasks with one column each (binary, regression) it is Pearson's correlation, negative ones too; where one has a
column for each class, the root of the RV coefficient |C_ab|_F^2 / (|C_aa|_F |C_bb|_F) of their covariances (Robert and
Escoufier 1976), which is the absolute correlation where there is one column.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.gradients.samples import classes_of
from stg_ray.affinities.jackknife import Sums, fold_sums, jackknife
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import Task
from stg_ray.tasks.labels import MISSING, observed
from stg_ray.training.evaluation import evaluate


class LabelCorrelation(Estimator):
    """Of the labels, over the rows that both tasks have labels for; a class is a column of zeros and ones."""

    kind: ClassVar[Kind] = "affinity"
    about: ClassVar[str] = "Correlation of the tasks' labels."

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.tasks = source.index.tasks
        self.owner = np.repeat(np.arange(len(self.tasks)), [task.n_outputs for task in self.tasks])

    def partial(self, number: int) -> Partial:
        values, present = self.columns(number)
        sums = moments(values, present, self.owner)
        rows = self.source.index.rows["train"][number]
        # The task of each column, times the rows: it adds like the rest, and is got back by dividing.
        return {**sums, "owner": self.owner * rows, "samples": np.array(rows)}

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Values (n, O) of all columns in a part, 0 where there is none, and where tasks have values (n, K)."""
        part = self.source.part(number)
        return label_columns(part.labels, self.tasks), observed(part.labels)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        """Jackknife errors over folds of the parts."""
        folds = fold_sums(partials)
        owner = np.round(folds[0]["owner"] / folds[0]["samples"]).astype(np.int64)
        affinity, error = jackknife(folds, lambda sums: correlations(sums, owner))
        samples = int(sum(fold["samples"] for fold in folds))
        return TaskMatrix(tuple(tasks), affinity, cls.kind, samples=samples), error


class LogitCorrelation(LabelCorrelation):
    """Of the network's outputs at all training rows, labelled or not; those of a multi-class task are centred at their
    mean over classes, which changes no probability."""

    about: ClassVar[str] = "Correlation of the profiled network's outputs for the tasks."

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.network = source.network()

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        inputs = torch.tensor(self.source.part(number).inputs)
        blocks = [evaluate(self.network, block.to(self.source.device)) for block in inputs.split(256)]
        outputs = torch.cat(blocks).double().numpy()
        for task, own in zip(self.tasks, self.network.layout.columns, strict=True):
            if task.kind == "multiclass":
                outputs[:, own] -= outputs[:, own].mean(axis=1, keepdims=True)
        return outputs, np.ones((len(outputs), len(self.tasks)), dtype=bool)


def label_columns(labels: np.ndarray, tasks: Sequence[Task]) -> np.ndarray:
    """(n, O) float64: the label, or for a multi-class task one column of zeros and ones for each class; 0 where
    missing."""
    columns = []
    for t, (task, classes) in enumerate(zip(tasks, classes_of(labels, tasks), strict=True)):
        if task.kind == "multiclass":
            columns.append((classes[:, None] == np.arange(task.n_outputs)).astype(np.float64))
        else:
            columns.append(np.where(classes == MISSING, 0, np.nan_to_num(labels[:, t].astype(np.float64)))[:, None])
    return np.concatenate(columns, axis=1)


def moments(values: np.ndarray, present: np.ndarray, owner: np.ndarray) -> Sums:
    """Sums from which covariances over common rows follow: `count` (K, K), `sums` and `squares` (O, K) of a column's
    values over the rows that a task has, `products` (O, O). owner: (O,) the task of each column."""
    assert values.shape[1] == len(owner)
    products = values.T @ values
    if present.all():  # then the rows of any two tasks are all rows: two products less
        shape = (values.shape[1], present.shape[1])
        count = np.full((present.shape[1],) * 2, float(len(present)))
        sums, squares = (np.broadcast_to(v.sum(axis=0)[:, None], shape).copy() for v in (values, values**2))
    else:
        there = present.astype(np.float64)
        count, sums, squares = there.T @ there, values.T @ there, (values**2).T @ there
    return {"count": count, "sums": sums, "squares": squares, "products": products}


def correlations(sums: Sums, owner: np.ndarray) -> np.ndarray:
    """(K, K); NaN for pairs without common rows and for constant tasks."""
    n_tasks = len(sums["count"])
    starts = np.searchsorted(owner, np.arange(n_tasks))
    single = np.bincount(owner, minlength=n_tasks) == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        count = sums["count"][np.ix_(owner, owner)]
        means = sums["sums"][:, owner] / count
        covariance = sums["products"] / count - means * means.T
        squares = np.add.reduceat(np.add.reduceat(covariance**2, starts, axis=0), starts, axis=1)
        # |C_aa|_F over the rows common with b: of one column its variance there; of several, over all rows of a.
        variance = sums["squares"][starts] / sums["count"] - (sums["sums"][starts] / sums["count"]) ** 2
        norms = np.where(single[:, None], variance, np.sqrt(np.diag(squares))[:, None])
        # A task that is constant has no correlation. What is left of its variance is rounding, in units of its squares.
        rounding = np.where(single[:, None], 1e-9 * sums["squares"][starts] / sums["count"], 0)
        norms[norms <= np.maximum(rounding, 1e-12)] = np.nan
        size = np.sqrt(squares / (norms * norms.T))
    sign = np.where(np.outer(single, single), np.sign(covariance[np.ix_(starts, starts)]), 1)
    return np.clip(sign * size, -1, 1)
