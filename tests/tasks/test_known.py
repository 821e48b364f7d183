"""Further labels of tasks that are known mean what they meant."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import stg_ray as sr
from stg_ray.tasks.known import known_labels


def test_labels_of_all_kinds_are_read_as_a_task_set_read_them() -> None:
    labels = pd.DataFrame({
        "flag": pd.array([True, False, None, True] * 10, dtype="boolean"),
        "colour": pd.Categorical(["red", "blue", "green", None] * 10),
        "grade": [10, 20, 30, 10] * 10,
        "weight": np.linspace(-1, 1, 40),
    })  # fmt: skip
    task_set = sr.TaskSet.from_arrays(np.arange(80.0).reshape(40, 2), labels, kinds=[None, None, "multiclass", None])
    again = known_labels(task_set.tasks, labels)
    np.testing.assert_array_equal(np.stack(again, axis=1).astype(np.float32), task_set.labels)
    part = known_labels(task_set.tasks, labels.iloc[[1, 5]])
    np.testing.assert_array_equal(np.stack(part, axis=1).astype(np.float32), task_set.labels[[1, 5]])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("a", 3, "task 'a' has the label 3, which fit did not see: expected 0, 1"),
        ("b", "heavy", "task 'b' is a regression, and has the label 'heavy': expected numbers"),
    ],
)
def test_labels_that_are_new_are_refused(column: str, value: object, message: str) -> None:
    tasks = (sr.Task("a"), sr.Task("b", "regression", n_classes=1))
    labels = pd.DataFrame({"a": [0, 1, -1], "b": [0.5, 1.5, np.nan]})
    a, b = known_labels(tasks, labels)
    np.testing.assert_array_equal(a, [0, 1, np.nan])
    np.testing.assert_array_equal(b, [0.5, 1.5, np.nan])
    with pytest.raises(sr.InputError, match=message):
        known_labels(tasks, labels.assign(**{column: [value] * 3}))
