"""The number of groups: planted groups are counted, noise is one group; and how sure each task's group is."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks, task_graph
from stg_ray.grouping.clusterers.base import Clustering
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.n_groups import Criterion, choose_n_groups
from tests.grouping.test_group_tasks import blocks


def pairs_noise(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
    values = np.triu(rng.random((n_tasks, n_tasks)), 1)
    return values + values.T


def distances_of(points: np.ndarray) -> np.ndarray:
    distances: np.ndarray = np.linalg.norm(points[:, None] - points, axis=2)
    return distances


def cloud_noise(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
    return distances_of(rng.normal(size=(n_tasks, 3)))


def stretched_noise(n_tasks: int, rng: np.random.Generator) -> np.ndarray:
    return distances_of(rng.normal(size=(n_tasks, 6)) * [8, 4, 2, 1, 1, 1])


@pytest.mark.parametrize("noise", [pairs_noise, cloud_noise, stretched_noise])
@pytest.mark.parametrize("n_tasks", [15, 40])
def test_noise_is_one_group_nearly_always(n_tasks: int, noise: Callable[..., np.ndarray]) -> None:
    names = tuple(f"t{t}" for t in range(n_tasks))
    found = [
        len(group_tasks(TaskMatrix(names, noise(n_tasks, np.random.default_rng(seed)), "distance")).groups)
        for seed in range(15)
    ]
    assert found.count(1) >= 13


def test_noise_in_several_affinities_is_one_group_nearly_always() -> None:
    found = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        several = [pairs_noise(40, rng), cloud_noise(40, rng)]
        found.append(len(group_tasks(several, kind="distance").groups))
    assert found.count(1) >= 9


def test_structure_in_one_affinity_is_enough() -> None:
    matrix, _ = blocks(40, 4, 0.2, 0)
    noise = TaskMatrix(matrix.tasks, stretched_noise(40, np.random.default_rng(0)), "distance")
    graph = task_graph([noise])
    clustering = Clustering(Spectral(), graph)
    assert choose_n_groups(graph, clustering)[0] == 1
    assert choose_n_groups(graph, clustering, alone=[graph, task_graph([matrix])])[0] > 1


def test_groups_of_points_are_found_among_points() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    points = rng.normal(size=(40, 5)) + 8 * rng.normal(size=(4, 5))[labels]
    distance = distances_of(points)
    groups = group_tasks(TaskMatrix(tuple(f"t{t}" for t in range(40)), distance, "distance"))
    assert adjusted_rand_score(labels, groups.labels) == 1.0


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_every_criterion_counts_planted_blocks(criterion: Criterion) -> None:
    matrix, labels = blocks(40, 5, 0.2, 0)
    groups = group_tasks(matrix, errors=[np.full((40, 40), 0.2)], criterion=criterion)
    assert adjusted_rand_score(labels, groups.labels) == 1.0
    assert groups.number_choice is not None
    curve = groups.number_choice.curve
    assert max(curve, key=lambda n: curve[n]) == 5


def test_a_range_is_kept() -> None:
    matrix, _ = blocks(40, 5, 0.2, 0)
    assert len(group_tasks(matrix, min_groups=6, max_groups=8).groups) in (6, 7, 8)
    assert len(group_tasks(matrix, max_groups=3).groups) in (1, 2, 3)
    noise = TaskMatrix(matrix.tasks, pairs_noise(40, np.random.default_rng(0)), "distance")
    assert len(group_tasks(noise, min_groups=2).groups) >= 2, "whether there is structure was not asked"
    with pytest.raises(InputError, match="stability needs the affinities"):
        group_tasks(matrix, criterion="stability")


def certainty_of(matrix: TaskMatrix, error: float) -> dict[str, float]:
    groups = group_tasks(matrix, n_groups=2, errors=[np.full(matrix.values.shape, error)])
    assert groups.certainty is not None
    return groups.certainty


def test_certainty_is_high_where_the_errors_are_small_and_low_where_a_task_is_between_groups() -> None:
    matrix, _ = blocks(20, 2, 0.05, 0)
    values = matrix.values.copy()
    values[0, 1:] = values[1:, 0] = 1.5
    matrix = TaskMatrix(matrix.tasks, values, "distance")
    sure = certainty_of(matrix, 1e-6)
    assert all(sure[task] == 1 for task in matrix.tasks[1:])
    unsure = certainty_of(matrix, 0.1)
    assert unsure["t0"] < min(unsure[task] for task in matrix.tasks[1:])
    assert group_tasks(matrix, n_groups=2, errors=[np.full((20, 20), np.nan)]).certainty is None
    lost = certainty_of(matrix, 5.0)
    assert np.mean(list(lost.values())) < 0.8


@pytest.mark.parametrize("criterion", ["silhouette", "stability"])
def test_resampled_values_are_preferred_to_errors_and_follow_the_tasks(criterion: Criterion) -> None:
    matrix, labels = blocks(20, 2, 0.05, 0)
    moved = matrix.values.copy()
    moved[0] = moved[:, 0] = np.where(labels == labels[0], 2.0, 1.0)
    moved[0, 0] = 0
    resamples = np.stack([moved] * 5 + [matrix.values] * 5)
    found = group_tasks(matrix, errors=[np.zeros((20, 20))], resamples=[resamples], criterion=criterion, min_groups=2)
    assert found.certainty == {task: 0.5 if task == "t0" else 1.0 for task in matrix.tasks}
