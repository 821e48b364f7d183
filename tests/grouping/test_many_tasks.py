"""Shortcuts for many tasks: they give what the direct computations give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score, silhouette_score

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.grouping import graph as graphs
from stg_ray.grouping import group_tasks, structure, task_graph
from stg_ray.grouping.clusterers import spectral
from stg_ray.grouping.clusterers.spectral import normalized_affinity, spectral_embedding
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.silhouette import silhouettes
from tests.grouping.test_group_tasks import blocks

N_TASKS = spectral.MANY + 100


def neighbours_of(n_tasks: int, n_components: int, alone: int = 0) -> np.ndarray:
    """Edges of as many connected parts, of different sizes, and of tasks without any edge."""
    points = np.random.default_rng(0).normal(size=(n_tasks, 3))
    points[:, 0] += 100 * np.sort(np.random.default_rng(1).integers(0, n_components, n_tasks))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    edges = TaskGraph(np.exp(-np.square(distance)), *[distance] * 3, neighbours=6).edges.copy()
    np.fill_diagonal(edges, 0)
    edges[:alone] = edges[:, :alone] = 0
    return edges


@pytest.mark.parametrize(("n_components", "alone"), [(1, 0), (4, 0), (30, 0), (3, 5), (3, 40)])
def test_lanczos_iterations_find_the_eigenvectors(n_components: int, alone: int) -> None:
    edges, n = neighbours_of(N_TASKS, n_components, alone), 30
    normalized = normalized_affinity(edges)
    vectors = spectral_embedding(edges, n)
    assert vectors.shape == (N_TASKS, n)
    expected = eigh(normalized, eigvals_only=True)[::-1][:n]
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(n), atol=1e-9)
    found = np.diag(vectors.T @ normalized @ vectors)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    np.testing.assert_allclose(normalized @ vectors, vectors * found, atol=1e-7)


def test_groups_do_not_depend_on_how_the_eigenvectors_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, labels = blocks(N_TASKS, 40, 0.2, 0)
    found = group_tasks(matrix, n_groups=40)
    assert adjusted_rand_score(labels, found.labels) == 1.0
    monkeypatch.setattr(spectral, "MANY", N_TASKS + 1)
    others = group_tasks(matrix, n_groups=40)
    assert found.groups == others.groups
    np.testing.assert_allclose(found.membership, others.membership, atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_rows_in_blocks_make_the_graph_of_all_rows_at_once(missing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, _ = blocks(50, 5, 0.3, 0)
    matrix.values[np.random.default_rng(0).random(matrix.values.shape) < missing] = np.nan
    whole = task_graph([matrix, matrix])
    monkeypatch.setattr(graphs, "CACHED", 7 * 50)
    parts = task_graph([matrix, matrix])
    for name in ("affinity", "distance", "squared", "given"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-13)


@pytest.mark.parametrize("n_tasks", [30, 250])
def test_silhouettes_are_those_of_scikit_learn(n_tasks: int) -> None:
    affinity = np.random.default_rng(0).random((n_tasks, n_tasks))
    affinity = (affinity + affinity.T) / 2
    np.fill_diagonal(affinity, 0)
    memberships = [np.random.default_rng(n).random((n_tasks, n)) for n in (2, 5, 12)]
    distance = 1 - affinity
    np.fill_diagonal(distance, 0)
    expected = [silhouette_score(distance, u.argmax(axis=1), metric="precomputed") for u in memberships]
    np.testing.assert_allclose(silhouettes(distance, memberships), expected)


def test_tasks_that_look_alike_at_first_are_told_apart_by_the_rest() -> None:
    """Half of the tasks share their least values: the order of the tasks still does not matter."""
    rng = np.random.default_rng(0)
    values = 1 + rng.random((24, 24))
    values = (values + values.T) / 2
    values[:12, 12:] = values[12:, :12] = 0.5
    np.fill_diagonal(values, 0)
    order = rng.permutation(24)
    names = [f"t{t}" for t in range(24)]
    own = group_tasks(values, names=names, kind="distance", n_groups=4)
    other = group_tasks(values[np.ix_(order, order)], names=[names[t] for t in order], kind="distance", n_groups=4)
    assert {frozenset(group) for group in own.groups} == {frozenset(group) for group in other.groups}


@pytest.mark.parametrize("noise", [0.4, 0.6])
def test_structure_of_many_tasks_is_found_with_half_of_the_graphs(noise: float) -> None:
    matrix, _ = blocks(structure.MANY + 50, 10, noise, 0)
    assert structure.find_structure(task_graph([matrix]), range(2, 33)).is_found


def test_noise_of_many_tasks_is_hardly_ever_taken_for_structure() -> None:
    """Pairs that are independent, and points in a cloud of six directions."""
    n_tasks, found = structure.MANY + 50, 0
    for seed in range(6):
        rng = np.random.default_rng([2, seed])
        pairs = np.triu(rng.random((n_tasks, n_tasks)), 1)
        points = rng.normal(size=(n_tasks, 6)) * [8, 4, 2, 1, 1, 1]
        for values in (pairs + pairs.T, np.linalg.norm(points[:, None] - points, axis=2)):
            matrix = TaskMatrix(tuple(f"t{t}" for t in range(n_tasks)), values, "distance")
            found += structure.find_structure(task_graph([matrix]), range(2, 33), seed=seed).is_found
    assert found <= 2
