"""Resampled data: seeded, made when they are asked for, in the order of the tasks that are grouped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.data_maps.histogram import BINS, PointHistogram
from stg_ray.grouping.graph import TaskGraph, task_graph
from stg_ray.grouping.resamples import Resamples, resampled_graphs, resampled_points
from tests.grouping.test_group_tasks import blocks

ORDER = np.arange(12)


def test_items_are_made_when_they_are_asked_for() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * number

    squares = Resamples(4, make)
    assert not made
    assert (len(squares), squares[2], squares[1:3], list(squares)) == (4, 4, [1, 4], [0, 1, 4, 9])
    with pytest.raises(IndexError):
        squares[4]
    assert not Resamples(0, make)


def test_without_errors_there_are_none() -> None:
    matrix, _ = blocks(12, 3, 0.1, 0)
    unknown = np.full((12, 12), np.nan)
    for errors in (None, [None], [unknown]):
        assert len(resampled_graphs([matrix], None, errors, task_graph, order=ORDER, seed=0)) == 0


def test_noise_is_that_of_the_errors_and_seeded() -> None:
    """The pair with an error moves by about as much, all others stay."""
    matrix, _ = blocks(12, 3, 0.1, 0)
    error = np.zeros((12, 12))
    error[2, 5] = error[5, 2] = 0.1
    seen: list[TaskMatrix] = []

    def graph_of(matrices: Sequence[TaskMatrix]) -> TaskGraph:
        seen.extend(matrices)
        return task_graph(matrices)

    graphs = resampled_graphs([matrix], None, [error], graph_of, order=ORDER, seed=3)
    first, again = graphs[0], graphs[0]
    assert np.array_equal(first.affinity, again.affinity)
    list(graphs)
    moved = np.stack([own.values - matrix.values for own in seen[2:]])
    assert len(moved) == 20
    assert 0.05 < moved[:, 2, 5].std() < 0.2
    moved[:, 2, 5] = moved[:, 5, 2] = 0
    assert not moved.any()


def test_resampled_values_follow_the_order_of_the_tasks() -> None:
    matrix, _ = blocks(12, 3, 0.1, 0)
    order = np.random.default_rng(0).permutation(12)
    pairs = np.ix_(order, order)
    ordered = TaskMatrix(tuple(matrix.tasks[t] for t in order), matrix.values[pairs], "distance")
    graphs = resampled_graphs([ordered], [np.stack([matrix.values] * 3)], None, task_graph, order=order, seed=0)
    assert len(graphs) == 3
    assert np.array_equal(graphs[1].affinity, task_graph([ordered]).affinity)


def test_counts_of_points_are_drawn_around_those_there_are() -> None:
    counts = np.zeros((2, BINS, BINS))
    counts[0, 3, 4], counts[1, 5, 6] = 400, 100
    drawn = resampled_points(PointHistogram(("a", "b"), counts), seed=0)
    assert len(drawn) == 20
    values = np.stack([own.counts for own in drawn])
    assert values[:, 0, 3, 4].mean() == pytest.approx(400, abs=20)
    assert values[:, 0, 3, 4].std() == pytest.approx(20, rel=0.5)
    assert (values[:, counts == 0] == 0).all()
    assert np.array_equal(drawn[4].counts, values[4])
