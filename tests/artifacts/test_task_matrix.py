"""A task matrix: the same after a file, short as text, a table of its first tasks in a notebook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError


def matrix_of(names: list[str], samples: int | None = None) -> TaskMatrix:
    values = np.arange(len(names) ** 2, dtype=np.float64).reshape(len(names), -1) / 3
    return TaskMatrix(tuple(names), values, "distance", {"method": "data_map"}, samples)


def test_a_file_keeps_names_direction_and_meaning() -> None:
    matrix = matrix_of(["b", "a", "ä b"], samples=7)
    back = TaskMatrix.from_table(matrix.to_table())
    assert (back.tasks, back.kind, back.parameters, back.samples) == (matrix.tasks, "distance", matrix.parameters, 7)
    assert np.array_equal(back.values, matrix.values)
    assert back.errors is None


def test_another_table_is_refused() -> None:
    with pytest.raises(InputError, match="metadata key stg_ray"):
        TaskMatrix.from_table(pa.table({"__task__": ["a"], "a": [0.0]}))
    table = matrix_of(["a", "b"]).to_table()
    renamed = table.rename_columns(["__task__", "a", "c"]).replace_schema_metadata(table.schema.metadata)
    with pytest.raises(InputError, match="name different tasks"):
        TaskMatrix.from_table(renamed)


def test_the_text_form_does_not_hold_the_values() -> None:
    assert repr(matrix_of([f"t{t}" for t in range(40)], 1200)) == "TaskMatrix(distance of 40 tasks, 1,200 samples)"
    assert repr(matrix_of(["a", "b"])) == "TaskMatrix(distance of 2 tasks)"


def test_a_notebook_shows_all_of_twelve_tasks() -> None:
    page = matrix_of([f"t{t}" for t in range(12)])._repr_html_()
    assert page.count("<tr>") == 13
    assert page.count("<td>") == 12 * 13
    assert "<td>47.67</td>" in page
    assert "more" not in page


def test_a_notebook_shows_the_first_twelve_of_more_tasks() -> None:
    page = matrix_of([f"t{t}" for t in range(40)], 1200)._repr_html_()
    assert page.count("<tr>") == 14
    assert "<caption>distance of 40 tasks, 1,200 samples</caption>" in page
    assert '<td colspan="13">... and 28 more</td>' in page
    assert "t12" not in page


def test_names_are_escaped_and_missing_values_empty() -> None:
    matrix = matrix_of(["<script>alert(1)</script>", "a & b"])
    matrix.values[0, 1] = np.nan
    page = matrix._repr_html_()
    assert "<script>" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert page.count("a &amp; b") == 2
    assert "<td></td>" in page
    assert "nan" not in page


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        ("abcd", "similarity", "unknown kind of matrix 'similarity': known: affinity, distance"),
        ("abc", "affinity", "3 names are given for 4 tasks"),
        ("abcde", "affinity", "5 names are given for 4 tasks"),
        ("abca", "affinity", "names the task 'a' twice"),
    ],
)
def test_what_is_no_matrix_of_tasks_is_refused(names: str, kind: Any, message: str) -> None:
    """What is not an affinity would pass for a distance, and group what is least alike."""
    with pytest.raises(InputError, match=message):
        TaskMatrix(tuple(names), np.eye(4), kind)


def test_values_and_errors_are_square() -> None:
    with pytest.raises(InputError, match=r"shape \(4, 3\): expected a square one"):
        TaskMatrix(tuple("abcd"), np.zeros((4, 3)), "affinity")
    with pytest.raises(InputError, match=r"the errors have the shape \(3, 3\): expected \(4, 4\)"):
        TaskMatrix(tuple("abcd"), np.eye(4), "affinity", errors=np.eye(3))
