"""Columns that list names of labels, in whatever container: a task for each name, as from files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import written

N = 24
X = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
HALF = np.arange(N) % 2
Lists = list[list[str] | None]


def polars_frame(lists: Lists) -> TaskSet:
    polars = pytest.importorskip("polars")
    return TaskSet.from_frame(polars.DataFrame({"x": X[:, 0], "y_half": HALF, "y_tags": lists}), labels="y_*")


def polars_series(lists: Lists) -> TaskSet:
    polars = pytest.importorskip("polars")
    return TaskSet.from_arrays(X, {"y_half": polars.Series(HALF), "y_tags": polars.Series(lists)})


CONTAINERS: dict[str, Callable[[Lists], TaskSet]] = {
    "lists": lambda lists: TaskSet.from_arrays(X, {"y_half": HALF, "y_tags": lists}),
    "tuples": lambda lists: TaskSet.from_arrays(
        X, {"y_half": HALF, "y_tags": [None if own is None else tuple(own) for own in lists]}
    ),
    "sets": lambda lists: TaskSet.from_arrays(
        X, {"y_half": HALF, "y_tags": [None if own is None else set(own) for own in lists]}
    ),
    "Arrow": lambda lists: TaskSet.from_arrays(X, pa.table({"y_half": HALF, "y_tags": pa.array(lists)})),
    "dictionaries": lambda lists: TaskSet.from_arrays(
        X, {"y_half": HALF, "y_tags": pa.array(lists, pa.list_(pa.dictionary(pa.int8(), pa.string())))}
    ),
    "a frame of pandas": lambda lists: TaskSet.from_frame(
        pd.DataFrame({"x": X[:, 0], "y_half": HALF, "y_tags": lists}), labels="y_*"
    ),
    "a series of pandas": lambda lists: TaskSet.from_arrays(X, {"y_half": HALF, "y_tags": pd.Series(lists)}),
    "a frame of polars": polars_frame,
    "a series of polars": polars_series,
}


@pytest.mark.parametrize("container", CONTAINERS)
@given(
    lists=st.lists(st.lists(st.sampled_from(["red", "round", "new"]), max_size=3), min_size=N - 6, max_size=N - 6),
    gaps=st.booleans(),
)
def test_they_are_as_in_a_file(container: str, lists: Lists, gaps: bool) -> None:
    whole = [*lists, ["red"], ["round"], ["new"], [], None if gaps else [], ["red", "new"]]
    found = CONTAINERS[container](whole)
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), {"x": X[:, 0], "y_half": HALF, "y_tags": pa.array(whole)}, "a.parquet")
        data = {"parquet": {"files": "a.parquet", "features": ["x"], "labels": ["y_half", "y_tags"]}, "root": folder}
        config = load_config({"data": {**data, "constant_tasks": "drop"}})
        expected = load_task_set(config.data, seed=0)
    assert found.without_constant_tasks("drop").tasks == expected.tasks
    assert np.array_equal(found.without_constant_tasks("drop").labels, expected.labels)


TAGS: Lists = [["red"], [], ["round"], ["red", "round"]] * 6


def test_names_kinds_and_groups_are_those_of_the_labels() -> None:
    task_set = TaskSet.from_arrays(X, {"tags": TAGS, "half": HALF}, groups={"r*": "tags"}, kinds={"red": "multiclass"})
    assert [(task.name, task.kind, task.group) for task in task_set.tasks] == [
        ("red", "multiclass", "tags"),
        ("round", "binary", "tags"),
        ("half", "binary", None),
    ]
    two = TaskSet.from_arrays(X, {"a": TAGS, "b": TAGS[::-1]})
    assert two.names == ("a/red", "a/round", "b/red", "b/round")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"tags": [["red"], None] * 12},
            "is null in 12 of 24 rows, and no list is empty: have these none of the labels",
        ),
        ({"tags": [[]] * N}, "lists of label names has no label in any row|holds lists of nothing"),
        ({"tags": TAGS, "red": HALF}, "two columns of labels give a task named 'red'"),
        ({"tags": [["red"], [1]] * 12}, "the labels of task 'tags' cannot be read"),
        ({"tags": [[1, 2], [2]] * 12}, "'tags' holds lists of whole numbers: expected lists of names"),
        ({"tags": [["red"], "round"] * 12}, r"lists beside the text 'round', write \['round'\]"),
    ],
)
def test_what_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as raised:
        TaskSet.from_arrays(X, {"half": HALF, **columns})
    assert "\n" not in str(raised.value)
