"""Correlation of tasks by their data maps: whether the same samples are easy, and the same hard, for both.

rho(a, b) = Pearson's correlation, over samples labelled for both, of log(mu / (1 - mu)), mu the mean confidence of a
sample at the last snapshot, which has all visits. Unlike the distance of data maps it leaves out how hard a task is
altogether, so a task that is not learned is like no other, instead of like all that are hard; and on the scale of
log-odds the samples that nearly all tasks are sure of do not weigh as much as all others. Variabilities were left out
by measurement: on CIFAR-100 (25,000 images, three trainings) the correlation alone finds the super-classes with an
adjusted Rand index of 0.39, the distance of data maps with 0.36, and of fifteen tasks on CIFAR-10 k-means puts random
labels alone in 5 of 5 trainings, by the distance in none (jobs/bench/known_groups.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Need
from stg_ray.affinities.correlation import LabelCorrelation, correlations, moments
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data_maps.state import DataMapState, names_of_tasks
from stg_ray.tasks import Task

SURE = 1e-4
"""Confidences nearer to 0 or 1 are taken for this near: the log-odds of a sample must not outweigh all others."""


class ConfidenceCorrelation(LabelCorrelation):
    """The correlation of the data maps that the profile stage left, by part: one column for each task."""

    needs: ClassVar[frozenset[Need]] = frozenset({"data_maps", "common_samples"})
    about: ClassVar[str] = (
        "Correlation of the tasks' data maps: large where the same samples are easy and the same are hard for both."
    )

    @classmethod
    def column_owners(cls, tasks: Sequence[Task]) -> np.ndarray:
        """Return the task of each column (K,): a task has one confidence, whatever the number of its classes."""
        return np.arange(len(tasks))

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the log-odds (n, K) of a part's last snapshot, and where there are any (n, K)."""
        return log_odds(self.source.states(number)[-1])


def log_odds(state: DataMapState) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-odds (n, K) of the mean confidences, in float64, 0 where there is none; and where there is one."""
    mean = state.mean.astype(np.float64)
    present = ~np.isnan(mean)
    near = np.clip(np.where(present, mean, 0.5), SURE, 1 - SURE)
    return np.log(near / (1 - near)), present


def confidence_correlation(state: DataMapState, tasks: Sequence[str] | None = None) -> TaskMatrix:
    """Compute the correlations of K tasks from a data map in memory.

    Args:
        state: the data map of all samples, with all visits.
        tasks: K names; task_0, ... if not given.

    Returns:
        The K x K matrix, without standard errors; NaN for tasks without common samples or of constant confidence.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> confidences = np.array([[0.9, 0.8, 0.6], [0.6, 0.7, 0.3], [0.2, 0.3, 0.4]], np.float32)
        >>> matrix = sr.confidence_correlation(sr.DataMapState.of_visit(confidences), ["cat", "dog", "car"])
        >>> print(matrix.values.round(1))
        [[1.  1.  0.6]
         [1.  1.  0.4]
         [0.6 0.4 1. ]]
    """
    names = names_of_tasks([state], tasks)
    matrix = correlations(moments(*log_odds(state)), np.arange(len(names)))
    return TaskMatrix(names, matrix, ConfidenceCorrelation.kind, samples=len(state.count))
