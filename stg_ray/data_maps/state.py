"""Data maps: each sample's confidence and variability, per task, over the epochs of a training run.

Swayamdipta et al. 2020; for task grouping: Sherif et al., STG-MTL, arXiv 2307.03374. The confidence of a visit is
p(true label) before the step. Over the visits so far a sample has the mean confidence and its standard deviation
(its variability). A task's feature vector is made of both, of all samples, at several snapshots of one recorder that
is never reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stg_ray.artifacts.storage import tensor_array, tensor_column
from stg_ray.errors import InputError
from stg_ray.shown import counted

EASY = 0.75
"""Mean confidence from which on a sample is easy to learn; below 1 - `EASY` it is hard to learn."""
AMBIGUOUS = 0.25
"""Variability from which on a sample is ambiguous."""


@dataclass(frozen=True, repr=False)
class DataMapState:
    """Mean and spread of the confidences of n samples and K tasks so far, as sums that merge (Welford).

    Attributes:
        count: (n,) int32 visits of each sample.
        mean: (n, K) float32 mean confidence; NaN where a label is missing.
        m2: (n, K) float32 sum of squared deviations from the mean; NaN where a label is missing.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> state = sr.DataMapState.empty(2, 1)
        >>> for confidences in ([[0.25], [0.9]], [[0.75], [0.9]]):
        ...     state = state.merge(sr.DataMapState.of_visit(np.array(confidences, dtype=np.float32)))
        >>> state
        DataMapState(2 samples, 1 task, 2 visits of each)
        >>> state.mean[:, 0].tolist()
        [0.5, 0.8999999761581421]
        >>> state.variability[:, 0].round(3).tolist()
        [0.354, 0.0]
    """

    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls, n_samples: int, n_tasks: int) -> DataMapState:
        """Make the state of samples without visits."""
        shape = (n_samples, n_tasks)
        return cls(np.zeros(n_samples, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    @classmethod
    def of_visit(cls, confidences: np.ndarray, visits: np.ndarray | None = None) -> DataMapState:
        """Make the state after one visit.

        Args:
            confidences: (n, K) p(true label), NaN where a label is missing.
            visits: (n,) 1 for the samples that were visited, else 0; all of them if not given.
        """
        visits = np.ones(len(confidences), np.int32) if visits is None else visits
        return cls(visits, confidences, np.where(np.isnan(confidences), np.nan, 0))

    def merge(self, other: DataMapState) -> DataMapState:
        """Return the state of both sets of visits (Chan, Golub and LeVeque 1979): exact in the counts, any order."""
        n1, n2 = self.count[:, None].astype(np.float64), other.count[:, None].astype(np.float64)
        n = np.maximum(n1 + n2, 1)
        delta = other.mean - self.mean.astype(np.float64)
        # A sample without visits has no mean yet: it must neither pull the other's nor hide its missing labels.
        mean = np.where(n1 == 0, other.mean, np.where(n2 == 0, self.mean, self.mean + delta * (n2 / n)))
        both = self.m2.astype(np.float64) + other.m2 + delta**2 * (n1 * n2 / n)
        m2 = np.where(n1 == 0, other.m2, np.where(n2 == 0, self.m2, both))
        return DataMapState(self.count + other.count, mean.astype(np.float32), m2.astype(np.float32))

    @property
    def variability(self) -> np.ndarray:
        """(n, K) sample standard deviation of the confidence; 0 after one visit, where it has no meaning yet."""
        deviation: np.ndarray = np.sqrt(self.m2 / np.maximum(self.count - 1, 1)[:, None])
        return deviation

    def __getitem__(self, rows: slice) -> DataMapState:
        return DataMapState(self.count[rows], self.mean[rows], self.m2[rows])

    def to_batch(self, samples: np.ndarray) -> pa.RecordBatch:
        """Return an Arrow batch with the columns sample, count, mean and m2.

        Args:
            samples: (n,) numbers of the samples in the task set.
        """
        columns = {"sample": pa.array(samples), "count": pa.array(self.count)}
        return pa.record_batch({**columns, "mean": tensor_column(self.mean), "m2": tensor_column(self.m2)})

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> DataMapState:
        """Make the state of a batch that `to_batch` returned; views of its memory."""
        return cls(
            batch.column("count").to_numpy(), tensor_array(batch.column("mean")), tensor_array(batch.column("m2"))
        )

    def __repr__(self) -> str:
        n_samples, n_tasks = self.mean.shape
        low, high = (int(self.count.min()), int(self.count.max())) if n_samples else (0, 0)
        visits = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"DataMapState({counted(n_samples, 'sample')}, {counted(n_tasks, 'task')}, "
            f"{visits} visit{'s' * (high != 1)} of each)"
        )


def names_of_tasks(states: Sequence[DataMapState], names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the K tasks of data maps that a user gives: task_0, ... where no names are given.

    Raises:
        InputError: there is no data map, something else is among them, or there are not K names.
    """
    if not isinstance(states, list | tuple) or not states:
        raise InputError("expected a list of data maps, an sr.DataMapState for each snapshot")
    for state in states:
        if not isinstance(state, DataMapState):
            raise InputError(
                f"a data map is of the type {type(state).__name__}: expected an sr.DataMapState, such as that of one "
                "visit, sr.DataMapState.of_visit(confidences)"
            )
    n_tasks = states[0].mean.shape[1]
    given = tuple(f"task_{t}" for t in range(n_tasks)) if names is None else tuple(map(str, names))
    if len(given) != n_tasks:
        raise InputError(f"{len(given)} names are given for {n_tasks} tasks: expected one for each")
    return given


def snapshot_epochs(epochs: int, snapshots: int) -> list[int]:
    """Return the epochs (from 1) after which a snapshot is kept: evenly spaced, the last among them."""
    count = min(epochs, snapshots)
    return [round(epochs * (k + 1) / count) for k in range(count)]


def pair_sums(states: Sequence[DataMapState]) -> tuple[np.ndarray, np.ndarray]:
    """Return sums over samples and snapshots from which distances between tasks follow; they add over parts.

    Args:
        states: a part's state at each snapshot.

    Returns:
        (K, K) float64 sums of squared differences of (mean, variability) over samples labelled for both tasks, and
        (K, K) numbers of sample-snapshot pairs labelled for both.
    """
    n_tasks = states[0].mean.shape[1]
    squared = np.zeros((n_tasks, n_tasks))
    count = np.zeros((n_tasks, n_tasks))
    for state in states:
        is_present = ~np.isnan(state.mean)
        whole = bool(is_present.all())
        present = is_present.astype(np.float64)
        count += float(len(present)) if whole else present.T @ present
        for values in (state.mean, state.variability):
            x = np.nan_to_num(values.astype(np.float64))
            # Where no label is missing, every task's squares count for every pair: no product is needed for them.
            one_sided = np.square(x).sum(axis=0)[:, None] if whole else np.square(x).T @ present
            squared += one_sided + one_sided.T - 2 * (x.T @ x)
    np.fill_diagonal(squared, 0)
    return np.maximum(squared, 0), count


def in_regions(state: DataMapState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which labelled samples are easy, ambiguous and hard to learn for each task: three boolean (n, K).

    Steady samples between easy and hard to learn count as ambiguous too (Swayamdipta et al. draw no sharp lines).
    """
    present = ~np.isnan(state.mean)
    steady = present & (state.variability < AMBIGUOUS)
    is_easy, is_hard = steady & (state.mean >= EASY), steady & (state.mean < 1 - EASY)
    return is_easy, present & ~is_easy & ~is_hard, is_hard
