"""How sure the groups are: the tasks are grouped again by affinities that other samples might have given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.threads import in_threads
from stg_ray.task_matrix import TaskMatrix

N_RESAMPLES = 20


class ResampledGraphs(Sequence[TaskGraph]):
    """Graphs of the affinities resampled within their standard errors, each made when it is asked for.

    The errors come from the scatter of the parts about their mean, so this is what other parts might have said, at the
    price of one K x K matrix. Errors of different pairs are drawn independently.

    Args:
        errors: (K, K) of each matrix; None, or NaN for a pair, count as none.
        graph_of: makes the graph of such matrices.
    """

    def __init__(
        self,
        matrices: Sequence[TaskMatrix],
        errors: Sequence[np.ndarray | None],
        graph_of: Callable[[Sequence[TaskMatrix]], TaskGraph],
        *,
        seed: int,
    ) -> None:
        self.known = list(zip(matrices, errors, strict=True))
        self.graph_of = graph_of
        self.seed = seed

    def __len__(self) -> int:
        return 0 if all(error is None for _, error in self.known) else N_RESAMPLES

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if not 0 <= number < len(self):
            raise IndexError(number)
        rng = np.random.default_rng([self.seed, 8, number])
        return self.graph_of([m if error is None else with_noise(m, error, rng) for m, error in self.known])


def with_noise(matrix: TaskMatrix, error: np.ndarray, rng: np.random.Generator) -> TaskMatrix:
    """The matrix with normal errors (K, K) added to its pairs; distances do not fall below 0."""
    noise = np.triu(rng.normal(size=error.shape), 1)
    values = matrix.values + np.nan_to_num(error) * (noise + noise.T)
    return replace(matrix, values=np.maximum(values, 0) if matrix.kind == "distance" else values)


def certainty(labels: np.ndarray, clusterer: Clusterer, graphs: Sequence[TaskGraph]) -> np.ndarray:
    """(K,) share of the resampled graphs in which each task is in its group.

    A group of a resampled graph is the group here that shares most tasks with it, one to one (Kuhn 1955).
    """

    def stays(number: int) -> np.ndarray:
        other = copy(clusterer).fit(graphs[number]).labels_
        common = np.eye(labels.max() + 1)[labels].T @ np.eye(other.max() + 1)[other]
        here, there = linear_sum_assignment(common, maximize=True)
        partner = np.full(other.max() + 1, -1)
        partner[there] = here
        return partner[other] == labels

    return np.mean(in_threads(stays, range(len(graphs)), n_tasks=len(labels)), axis=0)
