"""The test for structure: planted groups of a strength seen on real tasks are found, and noise is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stg_ray.affinities.adjusted import without_rates
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.grouping import group_tasks, task_graph
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph, default_neighbours
from stg_ray.grouping.silhouette import silhouettes
from stg_ray.grouping.structure import deviations, find_structure, one_factor

SIZES = (5, 4, 4, 3, 3, 1)
"""The groups of 20 Newsgroups."""

NUMBERS = range(2, 7)


def correlations(columns: np.ndarray) -> np.ndarray:
    return np.asarray(np.corrcoef(columns))


def graph_of(values: np.ndarray, kind: Kind = "affinity") -> TaskGraph:
    """The graph of correlations, or of the distances of standardised columns that they are."""
    names = tuple(f"t{t}" for t in range(len(values)))
    own = values if kind == "affinity" else np.sqrt(np.maximum(2 - 2 * values, 0))
    return task_graph([TaskMatrix(names, own, kind)], neighbours=default_neighbours(len(values)))


def newsgroups_like(seed: int, n: int = 400) -> np.ndarray:
    """Correlations (20, 20) of tasks whose groups hold together with a silhouette of 0.6."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(SIZES)), SIZES)
    return correlations((0.41 * rng.normal(size=(n, len(SIZES)))[:, group] + rng.normal(size=(n, 20))).T)


def independent(rng: np.random.Generator) -> np.ndarray:
    return correlations(rng.normal(size=(400, 20)).T)


def one_common_factor(rng: np.random.Generator) -> np.ndarray:
    loadings = rng.uniform(0, 1.5, 20)
    return correlations((rng.normal(size=(400, 1)) * loadings + rng.normal(size=(400, 20))).T)


def a_continuum(rng: np.random.Generator) -> np.ndarray:
    return correlations((rng.normal(size=(400, 3)) @ rng.normal(size=(3, 20)) + rng.normal(size=(400, 20))).T)


def heavy_tails(rng: np.random.Generator) -> np.ndarray:
    return correlations(rng.standard_t(2, size=(400, 20)).T)


def test_structure_as_strong_as_that_of_20_newsgroups_is_found_in_95_percent_of_draws() -> None:
    graphs = [graph_of(newsgroups_like(seed)) for seed in range(20)]
    best = [max(silhouettes(graph.dissimilarity, Spectral().memberships(graph, NUMBERS))) for graph in graphs]
    assert 0.56 < np.mean(best) < 0.64
    found = [find_structure(graph, NUMBERS, seed=seed).is_found for seed, graph in enumerate(graphs)]
    assert sum(found) >= 19


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        *itertools.product(("affinity", "adjusted", "distance"), [(10, 10), (10, 10, 10), (7, 7, 6)]),
        *itertools.product(("affinity", "adjusted"), [(14, 6)]),
    ],
)
def test_few_and_large_groups_are_found(kind: Kind | Literal["adjusted"], sizes: tuple[int, ...]) -> None:
    """Two of them lie on a line, as a cloud that is long in one direction does; only how tight they are tells them."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    found = []
    for seed in range(4):
        rng = np.random.default_rng([2, seed])
        columns = 2.5 * rng.normal(size=(400, len(sizes)))[:, group] + rng.normal(size=(400, len(group)))
        values = correlations(columns.T)
        if kind == "adjusted":
            values = without_rates(values, np.zeros((len(group), 1)))
        if kind == "distance":
            values = np.sqrt(np.maximum(2 - 2 * values, 0))
        groups = group_tasks(values, kind="distance" if kind == "distance" else "affinity", seed=seed)
        found.append(adjusted_rand_score(group, groups.labels))
    assert np.mean(found) > 0.9, found


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.5, 1.0])
def test_one_value_is_no_structure(value: float) -> None:
    values = np.full((3, 3), np.nan)
    values[0, 1] = values[1, 0] = value
    assert len(group_tasks(values).groups) == 1


@pytest.mark.parametrize("kind", ["affinity", "distance"])
@pytest.mark.parametrize("noise", [independent, one_common_factor, a_continuum, heavy_tails])
def test_noise_is_hardly_ever_taken_for_structure(noise: Callable[..., np.ndarray], kind: Kind) -> None:
    """Of 5 % of draws, chance makes at most 2 of 12, but for one time in fifty."""
    graphs = [graph_of(noise(np.random.default_rng([1, seed])), kind) for seed in range(12)]
    found = [find_structure(graph, NUMBERS, seed=seed).is_found for seed, graph in enumerate(graphs)]
    assert sum(found) <= 2


def test_deviations_are_those_of_the_number_of_groups_that_stands_out_most() -> None:
    null = np.array([[0.0, 1.0], [0.2, 1.2], [0.4, 1.4]])
    assert deviations(np.array([0.2, 1.8]), null) == pytest.approx(3.0)
    assert deviations(np.array([0.1, 0.5]), np.zeros((3, 2))) == pytest.approx(0.5 / 1e-3)


def test_one_factor_is_recovered() -> None:
    h = np.random.default_rng(0).uniform(0.2, 2, 12)
    nearness = np.outer(h, h)
    np.fill_diagonal(nearness, 0)
    np.testing.assert_allclose(one_factor(nearness), h, rtol=1e-3)


def test_a_number_at_its_bound_is_widened_once_and_said() -> None:
    labels = np.repeat(np.arange(12), 2)  # a third of the tasks are 8 groups
    values = np.where(labels[:, None] == labels, 0.9, 0.0)
    widened = group_tasks(values, min_groups=2)
    assert len(widened.groups) == 12
    assert not widened.is_at_bound
    kept = group_tasks(values, min_groups=2, max_groups=8)
    assert len(kept.groups) == 8
    assert kept.is_at_bound
    many = np.repeat(np.arange(20), 2)  # beyond twice a third
    beyond = group_tasks(np.where(many[:, None] == many, 0.9, 0.0), min_groups=2)
    assert beyond.number_choice is not None
    assert max(beyond.number_choice.curve) == 26
