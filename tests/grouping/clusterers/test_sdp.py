"""The semidefinite relaxation: feasible, as good as the best groups, tight where structure is clear."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks, task_graph
from stg_ray.grouping.clusterers.sdp import MAX_TASKS, relaxations
from tests.grouping.test_group_tasks import blocks


def objective(affinity: np.ndarray, x: np.ndarray) -> float:
    return float((np.where(np.eye(len(x), dtype=bool), 0, affinity.max() - affinity) * x).sum())


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_it_is_a_relaxation_of_the_best_groups(noise: float) -> None:
    """Every partition of 7 tasks into 2 and 3 groups is a feasible X: none is better."""
    affinity = task_graph([blocks(7, 2, noise, 0)[0]]).affinity
    for n_groups, x in zip((2, 3), relaxations(affinity, (2, 3)), strict=True):
        assert np.allclose(x.sum(axis=1), 1, atol=0.02)
        assert np.trace(x) == pytest.approx(n_groups, abs=0.02)
        assert np.linalg.eigvalsh(x).min() > -0.02
        best = np.inf
        for labels in product(range(n_groups), repeat=7):
            inside = np.eye(n_groups)[list(labels)]
            if inside.any(axis=0).all():
                best = min(best, objective(affinity, inside / inside.sum(axis=0) @ inside.T))
        assert objective(affinity, x) <= best + 0.02 * affinity.mean()


def test_clear_groups_are_the_relaxation_itself() -> None:
    matrix, labels = blocks(20, 4, 0.05, 0)
    (x,) = relaxations(task_graph([matrix]).affinity, [4])
    assert np.allclose(x, (labels[:, None] == labels) / 5, atol=0.02)


def test_too_many_tasks_are_refused_at_once() -> None:
    values = np.zeros((MAX_TASKS + 1, MAX_TASKS + 1))
    with pytest.raises(InputError, match=f"takes up to {MAX_TASKS} tasks, and there are {MAX_TASKS + 1}: use spectral"):
        group_tasks(values, method="sdp")
