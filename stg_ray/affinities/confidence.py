"""Correlation of tasks by their data maps: are the same samples easy, and the same hard, for both?

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

from stg_ray.affinities.correlation import LabelCorrelation, correlations, moments
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data_maps.state import DataMapState

SURE = 1e-4
"""Confidences nearer to 0 or 1 are taken for this near: the log-odds of a sample must not outweigh all others."""


class ConfidenceCorrelation(LabelCorrelation):
    """From the states that the profile stage left, by part."""

    about: ClassVar[str] = (
        "Correlation of the tasks' data maps: large where the same samples are easy and the same are hard for both."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.owner = np.arange(len(self.tasks))

    def columns(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return log_odds(self.source.states(number)[-1])


def log_odds(state: DataMapState) -> tuple[np.ndarray, np.ndarray]:
    """(n, K) float64 log-odds of the mean confidences, 0 where there is none, and where there is one (n, K)."""
    mean = state.mean.astype(np.float64)
    present = ~np.isnan(mean)
    near = np.clip(np.where(present, mean, 0.5), SURE, 1 - SURE)
    return np.log(near / (1 - near)), present


def confidence_correlation(state: DataMapState, tasks: Sequence[str] | None = None) -> TaskMatrix:
    """The correlations of tasks from a data map in memory.

    Args:
        tasks: K names; task_0, ... if not given.
    """
    values, present = log_odds(state)
    owner = np.arange(values.shape[1])
    names = tasks or [f"task_{t}" for t in owner]
    found = correlations(moments(values, present, owner), owner)
    return TaskMatrix(tuple(names), found, ConfidenceCorrelation.kind, samples=len(state.count))
