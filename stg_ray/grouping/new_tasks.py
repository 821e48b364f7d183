"""New tasks for existing groups; no pair of old tasks is computed again, and no old task moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping.graph import as_distance
from stg_ray.grouping.inputs import MatrixLike, as_matrix


def add_new_tasks(groups: Groups, matrix: MatrixLike, *, kind: Kind | None = None) -> Groups:
    """Return the groups with the new tasks of a larger matrix.

    A new task joins the group whose served tasks it is most alike to in the mean, or becomes a group by itself if that
    is below the mean of the pairs of old tasks (of all pairs with a new task, where the matrix has none of old ones):
    like a task alone in a selection, it is then no worse off without company.

    Args:
        groups: of the old tasks.
        matrix: affinities or distances of old and new tasks, by their names: a `TaskMatrix`, a data frame or a file;
            pairs of old tasks may be NaN.
        kind: of a data frame or a file of yours, as in `sr.group`.

    Raises:
        InputError: the groups or the matrix are none, or the matrix lacks an old task, has no new one, or has no value
            of a new one with any old one.

    Example:
        >>> import stg_ray as sr
        >>> groups = sr.Groups.from_labels(["cat", "dog", "car"], [0, 0, 1], "by hand")
        >>> rows = [[1, 0.9, 0.1, 0.8], [0.9, 1, 0.2, 0.7], [0.1, 0.2, 1, 0], [0.8, 0.7, 0, 1]]
        >>> larger = sr.TaskMatrix(("cat", "dog", "car", "fox"), np.array(rows), "affinity")
        >>> sr.add_tasks(groups, larger).groups
        [['cat', 'dog', 'fox'], ['car']]
    """
    if not isinstance(groups, Groups):
        raise InputError(f"groups: expected sr.Groups such as run.groups, found a {type(groups).__name__}")
    matrix = as_matrix(matrix, kind=kind)
    old = set(groups.tasks)
    new = [task for task in matrix.tasks if task not in old]
    to_old, level = _likeness(groups, matrix, new)
    served_by = np.concatenate([groups.labels, _chosen_groups(groups, to_old, level)])
    members = [list(group) for group in groups.groups] + [[] for _ in range(len(groups.groups), served_by.max() + 1)]
    membership = np.zeros((len(served_by), len(members)))
    membership[: len(old), : len(groups.groups)] = groups.membership
    for row, task in enumerate(new, start=len(old)):
        members[served_by[row]].append(task)
        membership[row, served_by[row]] = 1
    return replace(
        groups,
        tasks=[*groups.tasks, *new],
        groups=members,
        membership=membership.tolist(),
        serving=groups.serving | dict(zip(new, served_by[len(old) :].tolist(), strict=True)),
        added=new,
    )


def _likeness(groups: Groups, matrix: TaskMatrix, new: list[str]) -> tuple[np.ndarray, float]:
    """Return how alike each new task is to each old one (n, K), and how alike company should be at least."""
    position = {task: t for t, task in enumerate(matrix.tasks)}
    lacking = [task for task in groups.tasks if task not in position]
    if lacking:
        raise InputError(f"the matrix of new tasks lacks the old task {lacking[0]!r}: expected old and new ones in it")
    if not new:
        raise InputError("the matrix of new tasks has the old tasks only: there is nothing to add")
    alike = -as_distance(matrix)
    np.fill_diagonal(alike, np.nan)
    old_rows, new_rows = ([position[task] for task in tasks] for tasks in (groups.tasks, new))
    to_old: np.ndarray = alike[np.ix_(new_rows, old_rows)]
    apart = np.isnan(to_old).all(axis=1)
    if apart.any():
        raise InputError(f"the new task {new[int(apart.argmax())]!r} has no value with any old task: give some")
    old_pairs = alike[np.ix_(old_rows, old_rows)]
    level = np.nanmean(old_pairs) if np.isfinite(old_pairs).any() else np.nanmean(alike[new_rows])
    return to_old, float(level)


def _chosen_groups(groups: Groups, to_old: np.ndarray, level: float) -> list[int]:
    """Return the group of each new task; groups by themselves are numbered after the old ones."""
    means = np.full((len(to_old), len(groups.groups)), -np.inf)
    for g in range(len(groups.groups)):
        to_group = to_old[:, groups.labels == g]
        known = ~np.isnan(to_group).all(axis=1)
        means[known, g] = np.nanmean(to_group[known], axis=1)
    chosen, n_groups = [], len(groups.groups)
    for to_groups in means:
        joins = to_groups.max() >= level
        chosen.append(int(to_groups.argmax()) if joins else n_groups)
        n_groups += not joins
    return chosen
