"""Histograms of the points of data maps: how many of a task's samples have which confidence and variability.

They add over parts, and a clustering of the points needs nothing else: no points reach the driver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data_maps.state import DataMapState, names_of_tasks
from stg_ray.shown import counted

BINS = 32
"""Bins of the mean confidence, from 0 to 1, and of the variability, from 0 to its largest."""

LARGEST_VARIABILITY = math.sqrt(0.5)
"""The sample standard deviation of two visits with the confidences 0 and 1."""

POINTS_AT_ONCE = 1 << 20
"""Points that are counted together, which bounds the memory."""


@dataclass(frozen=True, repr=False)
class PointHistogram:
    """Counts of each task's labelled samples by mean confidence and variability; they add with `+`.

    Attributes:
        tasks: names of the K tasks.
        counts: (K, BINS, BINS) numbers of samples, by bin of mean confidence and of variability.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> confidences = np.array([[0.1, 0.9], [0.2, 0.9], [0.9, np.nan]], dtype=np.float32)
        >>> histogram = sr.PointHistogram.of(sr.DataMapState.of_visit(confidences), ["red", "green"])
        >>> histogram + histogram
        PointHistogram(2 tasks, 10 points in 32 x 32 bins)
        >>> histogram.distances().values.round(2).tolist()
        [[0.0, 0.65], [0.65, 0.0]]
    """

    tasks: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, state: DataMapState, tasks: Sequence[str] | None = None) -> PointHistogram:
        """Make the histogram of a part's state; `tasks` are task_0, ... if not given."""
        return cls(names_of_tasks([state], tasks), point_counts(state))

    def __add__(self, other: PointHistogram) -> PointHistogram:
        return PointHistogram(self.tasks, self.counts + other.counts)

    def __repr__(self) -> str:
        points = f"{int(self.counts.sum()):,} points in {BINS} x {BINS} bins"
        return f"PointHistogram({counted(len(self.tasks), 'task')}, {points})"

    @property
    def points(self) -> np.ndarray:
        """(BINS * BINS, 2) middle of each bin: mean confidence and variability."""
        middle = (np.arange(BINS) + 0.5) / BINS
        grid = np.meshgrid(middle, middle * LARGEST_VARIABILITY, indexing="ij")
        return np.stack(grid, axis=-1).reshape(-1, 2)

    @property
    def shares(self) -> np.ndarray:
        """(K, BINS * BINS) share of each task's points in each bin; NaN for a task without any."""
        flat = self.counts.reshape(len(self.counts), -1)
        with np.errstate(invalid="ignore"):
            shares: np.ndarray = flat / flat.sum(axis=1, keepdims=True)
        return shares

    def distances(self) -> TaskMatrix:
        """Return the Hellinger distances of the tasks' shares, from 0 to 1; NaN where a task has no points."""
        root = np.sqrt(self.shares)
        values = np.sqrt(np.maximum(1 - root @ root.T, 0))
        np.fill_diagonal(values, 0)
        return TaskMatrix(self.tasks, values, "distance", samples=int(self.counts.sum(axis=(1, 2)).max()))


def point_counts(state: DataMapState) -> np.ndarray:
    """Count the labelled samples of a state: (K, BINS, BINS) float64, which add over parts."""
    n, n_tasks = state.mean.shape
    counts = np.zeros(n_tasks * BINS * BINS)
    step = max(1, POINTS_AT_ONCE // n_tasks)
    for start in range(0, n, step):
        block = state[start : start + step]
        present = ~np.isnan(block.mean)
        task = np.broadcast_to(np.arange(n_tasks), block.mean.shape)[present]
        confidence = _bin(block.mean[present])
        variability = _bin(block.variability[present] / LARGEST_VARIABILITY)
        counts += np.bincount((task * BINS + confidence) * BINS + variability, minlength=len(counts))
    return counts.reshape(n_tasks, BINS, BINS)


def _bin(values: np.ndarray) -> np.ndarray:
    return np.clip((values * BINS).astype(np.intp), 0, BINS - 1)
