"""`samples: auto`: parts are looked at, in their order, until more of them no longer change the groups."""

from __future__ import annotations

from collections.abc import Callable

from sklearn.metrics import adjusted_rand_score

from stg_ray.affinities.base import Estimator
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import AffinityConfig, Config

GroupTasks = Callable[..., Groups]
"""`grouping.group_tasks`, which is passed in: no stage imports another."""

FIRST = 4
"""Parts after which the groups are looked at first; then after twice as many, and so on."""

MIN_AGREEMENT = 0.9
"""Adjusted Rand index of two groupings from which on they are taken for the same."""


def grows_by_parts(settings: AffinityConfig, estimator: type[Estimator]) -> bool:
    """Return whether an estimator takes as many parts as it needs: one whose means add over them, under `auto`."""
    return settings.samples == "auto" and estimator is LandscapeDistance


def enough_parts(n_parts: int, matrix_of: Callable[[int], TaskMatrix], config: Config, group_tasks: GroupTasks) -> int:
    """Return the number of parts after which twice as many gave the same groups; all of them if that never was.

    Args:
        n_parts: all parts.
        matrix_of: the matrix of the first n parts. It is asked for with growing n.
        config: how the tasks are grouped.
        group_tasks: `grouping.group_tasks`.
    """
    grouping = config.grouping
    method = "spectral" if grouping.method in ("budget", "auxiliary") else grouping.method
    before = None
    n = min(FIRST, n_parts)
    while True:
        labels = group_tasks(matrix_of(n), method=method, n_groups=grouping.groups, seed=config.seed).labels
        if n == n_parts or (before is not None and adjusted_rand_score(before, labels) >= MIN_AGREEMENT):
            return n
        before, n = labels, min(2 * n, n_parts)
