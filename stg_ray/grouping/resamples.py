"""Data that other samples might have given: the task graphs or histograms of points that certainty is measured by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, overload

import numpy as np

from stg_ray.artifacts.evidence import n_resamples
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.grouping.graph import TaskGraph
from stg_ray.seeds import Stream, generator

Item = TypeVar("Item")


class Resamples(Sequence[Item]):
    """A sequence of n items, each made when it is asked for: a thousand tasks' graphs do not fit in memory together."""

    def __init__(self, n: int, make: Callable[[int], Item]) -> None:
        self.n, self.make = n, make

    def __len__(self) -> int:
        return self.n

    @overload
    def __getitem__(self, number: int) -> Item: ...

    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...

    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        if isinstance(number, slice):
            return [self.make(n) for n in range(self.n)[number]]
        return self.make(range(self.n)[number])


def has_errors(resampled: np.ndarray | None, error: np.ndarray | None) -> bool:
    """Return whether it is known how far other samples might have led a matrix."""
    return resampled is not None or (error is not None and bool(np.isfinite(error).any()))


def resampled_graphs(
    matrices: Sequence[TaskMatrix],
    resamples: Sequence[np.ndarray | None] | None,
    errors: Sequence[np.ndarray | None] | None,
    graph_of: Callable[[Sequence[TaskMatrix]], TaskGraph],
    *,
    order: np.ndarray,
    seed: int,
) -> Resamples[TaskGraph]:
    """Return the graphs of resampled affinities; none where nothing is known of their errors.

    A matrix is resampled over its parts where such resamplings are given, else by normal noise of its standard errors,
    independent for each pair. Where the groups can be told apart at all, the former came closer to the share of new
    samples in which a task stays (error 0.13 to 0.24 instead of 0.28 to 0.31; jobs/bench/certainty.py): errors of pairs
    are correlated. Where they hardly can, it is the other way round.

    Args:
        matrices: of the K tasks.
        resamples: (B, K, K) of each matrix, or None.
        errors: (K, K) of each matrix; None, or NaN for a pair, count as none, so that certainty is too high.
        graph_of: makes the graph of resampled matrices.
        order: (K,) positions of the matrices' tasks in `resamples` and `errors`.
        seed: of the noise.
    """
    nothing = [None] * len(matrices)
    given = zip(matrices, resamples or nothing, errors or nothing, strict=True)
    # Without two parts there are no errors, which does not mean that they are 0.
    pairs = np.ix_(order, order)
    known = [(m, r, e[pairs] if e is not None and r is None and has_errors(r, e) else None) for m, r, e in given]
    numbers = [len(r) for _, r, _ in known if r is not None]
    n = min(numbers) if numbers else n_resamples(len(order)) if any(e is not None for *_, e in known) else 0

    def make(number: int) -> TaskGraph:
        rng = generator(Stream.RESAMPLED_GRAPHS, seed, number)
        drawn = []
        for matrix, resampled, error in known:
            if resampled is not None:
                drawn.append(replace(matrix, values=np.asarray(resampled[number], np.float64)[pairs]))
            else:
                drawn.append(matrix if error is None else with_noise(matrix, error, rng))
        return graph_of(drawn)

    return Resamples(n, make)


def with_noise(matrix: TaskMatrix, error: np.ndarray, rng: np.random.Generator) -> TaskMatrix:
    """Add normal errors (K, K) to the pairs of a matrix; distances do not fall below 0."""
    noise = np.triu(rng.normal(size=error.shape), 1)
    noise += noise.T
    noise *= np.where(np.isnan(error), 0, error)
    noise += matrix.values
    return replace(matrix, values=np.maximum(noise, 0, out=noise) if matrix.kind == "distance" else noise)


def resampled_points(histogram: PointHistogram, *, seed: int) -> Resamples[PointHistogram]:
    """Return histograms whose counts are drawn from Poisson distributions around the counts of this one.

    This is how counts come out where samples are drawn with replacement (Chamandy et al. 2012), each task for itself.
    """

    def make(number: int) -> PointHistogram:
        counts = generator(Stream.RESAMPLED_GRAPHS, seed, number).poisson(histogram.counts)
        return PointHistogram(histogram.tasks, counts.astype(np.float64))

    return Resamples(n_resamples(len(histogram.tasks)), make)
