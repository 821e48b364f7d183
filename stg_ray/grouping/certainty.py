"""How sure the groups are: the tasks are grouped again by affinities that other samples might have given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.threads import in_threads
from stg_ray.seeds import Stream, generator

N_RESAMPLES = 20


class ResampledGraphs(Sequence[TaskGraph]):
    """Graphs of resampled affinities, each made when it is asked for.

    A matrix is resampled over its parts where such resamplings are given, else by normal noise of its standard errors,
    independent for each pair. Where the groups can be told at all the former came closer to the share of new samples
    in which a task stays (error 0.13 to 0.24 instead of 0.28 to 0.31; jobs/bench/certainty.py): errors of pairs are
    correlated. Where they hardly can, it is the other way round.

    Args:
        resamples: (B, K, K) of each matrix, or None.
        errors: (K, K) of each matrix; None, or NaN for a pair, count as none.
        graph_of: makes the graph of such matrices.
        order: of the matrices' tasks, by their positions in `resamples` and `errors`.
    """

    def __init__(
        self,
        matrices: Sequence[TaskMatrix],
        resamples: Sequence[np.ndarray | None] | None,
        errors: Sequence[np.ndarray | None] | None,
        graph_of: Callable[[Sequence[TaskMatrix]], TaskGraph],
        *,
        order: np.ndarray,
        seed: int,
    ) -> None:
        nothing = [None] * len(matrices)
        known = zip(matrices, resamples or nothing, errors or nothing, strict=True)
        # Without two parts there are no errors, which does not mean that they are 0.
        self.known = [(m, r, e if e is not None and np.isfinite(e).any() else None) for m, r, e in known]
        given = [len(r) for _, r, _ in self.known if r is not None]
        self.n = min(given) if given else N_RESAMPLES if any(e is not None for *_, e in self.known) else 0
        self.graph_of = graph_of
        self.order = np.ix_(order, order)
        self.seed = seed

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if not 0 <= number < len(self):
            raise IndexError(number)
        rng = generator(Stream.RESAMPLED_GRAPHS, self.seed, number)
        matrices = []
        for matrix, resamples, error in self.known:
            if resamples is not None:
                matrix = replace(matrix, values=np.asarray(resamples[number], np.float64)[self.order])
            elif error is not None:
                matrix = with_noise(matrix, error[self.order], rng)
            matrices.append(matrix)
        return self.graph_of(matrices)


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
