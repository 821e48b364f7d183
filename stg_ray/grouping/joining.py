"""New tasks join the groups there are; no pair of old tasks is computed again, and no old task moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping.graph import as_distance


def join_tasks(groups: Groups, matrix: TaskMatrix) -> Groups:
    """The groups with the new tasks of a larger matrix.

    A new task joins the group whose served tasks it is most alike to in the mean, or becomes a group of its own if that
    is below the mean of the pairs of old tasks (of all pairs with a new task, where the matrix has none of old ones):
    like a task alone in a selection, it is then no worse off without company.

    Args:
        matrix: affinities or distances of old and new tasks; pairs of old tasks may be NaN.

    Raises:
        InputError: the matrix lacks an old task, has no new one, or a new one has no value with any old one.
    """
    position = {task: t for t, task in enumerate(matrix.tasks)}
    lacking = [task for task in groups.tasks if task not in position]
    if lacking:
        raise InputError(f"the matrix of new tasks lacks the old task {lacking[0]!r}: expected old and new ones in it")
    new = [task for task in matrix.tasks if task not in set(groups.tasks)]
    if not new:
        raise InputError("the matrix of new tasks has the old tasks only: there is nothing to add")
    alike = -as_distance(matrix)
    np.fill_diagonal(alike, np.nan)
    old_rows, new_rows = ([position[task] for task in tasks] for tasks in (groups.tasks, new))
    to_old = alike[np.ix_(new_rows, old_rows)]
    apart = np.isnan(to_old).all(axis=1)
    if apart.any():
        raise InputError(f"the new task {new[int(apart.argmax())]!r} has no value with any old task: give some")
    old_pairs = alike[np.ix_(old_rows, old_rows)]
    level = np.nanmean(old_pairs) if np.isfinite(old_pairs).any() else np.nanmean(alike[new_rows])
    means = np.full((len(new), len(groups.groups)), -np.inf)
    for g in range(len(groups.groups)):
        own = to_old[:, groups.labels == g]
        some = ~np.isnan(own).all(axis=1)
        means[some, g] = np.nanmean(own[some], axis=1)
    members, serving = [list(own) for own in groups.groups], dict(groups.serving)
    for task, to_groups in zip(new, means, strict=True):
        serving[task] = int(to_groups.argmax()) if to_groups.max() >= level else len(members)
        if serving[task] == len(members):
            members.append([])
        members[serving[task]].append(task)
    membership = np.zeros((len(serving), len(members)))
    membership[: len(groups.tasks), : len(groups.groups)] = groups.membership
    for row, task in enumerate(new, start=len(groups.tasks)):
        membership[row, serving[task]] = 1
    parameters = {**groups.parameters, "added": new}
    return replace(
        groups,
        tasks=[*groups.tasks, *new],
        groups=members,
        membership=membership.tolist(),
        serving=serving,
        parameters=parameters,
    )
