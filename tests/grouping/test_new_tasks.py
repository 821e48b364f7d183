"""New tasks join the groups there are."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping.new_tasks import add_new_tasks

OLD = Groups.from_labels(["a", "b", "c", "d"], np.array([0, 0, 1, 1]), "spectral")


def larger(*rows: list[float], old: float = 1.0) -> TaskMatrix:
    """Distances of a, b, c, d (1 within, 3 between, times `old`) and of new tasks x, y, ... to all before them."""
    n_tasks = 4 + len(rows)
    values = np.full((n_tasks, n_tasks), np.nan)
    within = OLD.labels[:, None] == OLD.labels
    values[:4, :4] = np.where(within, 1.0, 3.0) * old
    for t, row in enumerate(rows, start=4):
        values[t, :t] = values[:t, t] = row[:t]
    return TaskMatrix(tuple("abcdxy"[:n_tasks]), values, "distance")


def test_a_new_task_joins_the_group_it_is_most_alike_to() -> None:
    joined = add_new_tasks(OLD, larger([3, 3, 1, 2], [1, 1, 3, 3, 3]))
    assert joined.groups == [["a", "b", "y"], ["c", "d", "x"]]
    assert {task: joined.serving[task] for task in OLD.tasks} == OLD.serving
    assert np.array(joined.membership).shape == (6, 2)
    assert joined.added == ["x", "y"]
    assert OLD.groups == [["a", "b"], ["c", "d"]], "the old groups are left as they were"


def test_a_task_like_none_of_them_is_a_group_of_its_own() -> None:
    joined = add_new_tasks(OLD, larger([5, 5, 4, 5]))
    assert joined.groups == [["a", "b"], ["c", "d"], ["x"]]
    assert np.array(joined.membership).tolist()[4] == [0, 0, 1]


def test_old_pairs_and_some_new_ones_may_be_missing() -> None:
    joined = add_new_tasks(OLD, larger([np.nan, 1, np.nan, 4], old=np.nan))
    assert joined.groups == [["a", "b", "x"], ["c", "d"]]


def test_what_cannot_be_joined_is_said() -> None:
    with pytest.raises(InputError, match="nothing to add"):
        add_new_tasks(OLD, larger())
    with pytest.raises(InputError, match="'x' has no value with any old task"):
        add_new_tasks(OLD, larger([np.nan] * 4))
    with pytest.raises(InputError, match=r"such as run\.groups, found a list"):
        add_new_tasks([["a", "b"], ["c", "d"]], larger([3, 3, 1, 2]))
    with pytest.raises(InputError, match="lacks the old task 'a'"):
        add_new_tasks(OLD, TaskMatrix(("b", "c", "x"), np.ones((3, 3)), "distance"))
