"""Columns of labels as people have them: any type gives the same task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import ROWS, N, X, load, written

TAGS = [["red", "round"], ["round"], [], ["red"], None, ["blue", "red"]] * 10
LABELS: dict[str, tuple[Any, dict[str, np.ndarray], dict[str, Any]]] = {
    "booleans": (ROWS % 2 == 0, {"y": (ROWS % 2 == 0)}, {}),
    "booleans with null": (
        pa.array([None, True, False] * 20),
        {"y": np.array([-1, 1, 0] * 20)},
        {},
    ),
    "categories yes and no": (pd.Categorical(["yes", "no"] * 30), {"y": np.array([1, 0] * 30)}, {}),
    "text yes and no": (["No", "YES ", None] * 20, {"y": np.array([0, 1, -1] * 20)}, {}),
    "text True and False": (["True", "False"] * 30, {"y": np.array([1, 0] * 30)}, {}),
    "digits in text": (["0", "1"] * 30, {"y": np.array([0, 1] * 30)}, {}),
    "classes in text": (["b", "c", "a"] * 20, {"y": np.array([1, 2, 0] * 20)}, {}),
    "dictionary of numbers": (pa.array(ROWS % 3).dictionary_encode(), {"y": ROWS % 3}, {}),
    "lists": (
        TAGS,
        {
            "blue": np.array([0, 0, 0, 0, -1, 1] * 10),
            "red": np.array([1, 0, 0, 1, -1, 1] * 10),
            "round": np.array([1, 1, 0, 0, -1, 0] * 10),
        },
        {},
    ),
    "lists of numbers": (
        [[10], [9, 10]] * 30,
        {"9": np.array([0, 1] * 30), "10": np.ones(60)},
        {},
    ),
    "vectors of 0 and 1": (
        [[0, 1, row % 3 // 2] for row in range(N)],
        {"y_0": np.zeros(N), "y_1": np.ones(N), "y_2": ROWS % 3 // 2},
        {},
    ),
    "vectors of real numbers": (
        pa.FixedSizeListArray.from_arrays(np.repeat(ROWS / 7, 2), 2),
        {"y_0": (ROWS / 7).astype(np.float32), "y_1": (ROWS / 7).astype(np.float32)},
        {},
    ),
    "bytes": ([b"yes", b"no"] * 30, {"y": np.array([1, 0] * 30)}, {}),
    "text with separators": (
        [None if tags is None else " ; ".join(tags) for tags in TAGS],
        {
            "blue": np.array([0, 0, 0, 0, -1, 1] * 10),
            "red": np.array([1, 0, 0, 1, -1, 1] * 10),
            "round": np.array([1, 1, 0, 0, -1, 0] * 10),
        },
        {"separator": ";"},
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_kind(tmp_path: Path, kind: str) -> None:
    column, expected, options = LABELS[kind]
    other = ROWS // 3 % 2
    written(tmp_path, X | {"y": column, "z": other})
    constant = kind in ("lists of numbers", "vectors of 0 and 1")
    config = {"files": "mine.parquet", "features": ["x_*"], "labels": ["y", "z"], **options}
    data = {"parquet": config, "root": str(tmp_path), "constant_tasks": "drop" if constant else "refuse"}
    task_set = load_task_set(load_config({"data": data}).data, seed=0)
    kept = {name: labels for name, labels in expected.items() if len(np.unique(labels)) > 1}
    assert task_set.names == (*kept, "z")
    for t, labels in enumerate([*kept.values(), other]):
        assert np.array_equal(task_set.labels[:, t], labels)


def test_a_real_column_makes_no_regressions_of_the_others(tmp_path: Path) -> None:
    written(tmp_path, X | {"y_1": ROWS % 2, "y_2": ROWS % 3, "y_3": X["x_a"] ** 2, "y_4": ROWS % 5 == 0})
    task_set = load(tmp_path, files="mine.parquet", features=["x_*"], labels=["y_*"])
    assert [task.kind for task in task_set.tasks] == ["binary", "multiclass", "regression", "binary"]
    assert task_set.tasks[1].n_classes == 3


def listed(tmp_path: Path, tags: list[Any], **options: Any) -> TaskSet:
    written(tmp_path, X | {"tags": tags, "ripe": ["yes", "no"] * (N // 2)})
    return load(tmp_path, files="mine.parquet", features=["x_*"], labels=["tags", "ripe"], **options)


@pytest.mark.parametrize("nothing", ["", None, "NaN", "None"])
@pytest.mark.parametrize(("empty", "labels"), [("none", [0, 0]), ("missing", [-1, -1])])
def test_rows_that_list_no_label_are_asked_about(
    tmp_path: Path, nothing: str | None, empty: str, labels: list[int]
) -> None:
    tags = ["red;round", "round", "red", nothing] * 15
    with pytest.raises(InputError, match=r"'tags' is empty.* in 15 of 60 .* Set data.parquet.empty to none or to miss"):
        listed(tmp_path, tags, separator=";")
    assert listed(tmp_path, tags, separator=";", empty=empty).labels[3, :2].tolist() == labels


def test_null_lists_without_empty_ones_are_asked_about(tmp_path: Path) -> None:
    tags = [["red", "round"], ["round"], ["red"], None] * 15
    with pytest.raises(InputError, match="'tags' is empty or null in 15 of 60 rows, the first is row 3"):
        listed(tmp_path, tags)
    assert listed(tmp_path, tags, empty="none").labels[3, :2].tolist() == [0, 0]
    assert listed(tmp_path, [own or [] for own in tags]).labels[3, :2].tolist() == [0, 0]


@pytest.mark.parametrize("separator", ["|", {"tags": "|"}])
def test_a_separator_is_that_of_the_columns_that_hold_it(tmp_path: Path, separator: str | dict[str, str]) -> None:
    task_set = listed(tmp_path, ["red|round", "round", "red"] * 20, separator=separator)
    assert task_set.names == ("red", "round", "ripe")
    assert task_set.labels[:3].tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]


def test_a_column_that_is_named_lists_labels_though_every_row_has_one(tmp_path: Path) -> None:
    assert listed(tmp_path, ["b", "a", "c"] * 20, separator={"tags": ";"}).names == ("a", "b", "c", "ripe")


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        (";", r"data.parquet.separator: no label column of text holds ';'"),
        ({"tag": ";"}, r"data.parquet.separator: unknown label column 'tag': did you mean 'tags'\?"),
    ],
)
def test_a_separator_that_no_column_has(tmp_path: Path, separator: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        listed(tmp_path, ["a", "b", "c"] * 20, separator=separator)


@pytest.mark.parametrize("between", ["|", ";", ", "])
def test_text_that_looks_like_lists_is_asked_about(tmp_path: Path, between: str) -> None:
    with pytest.raises(InputError, match=f"does each row list labels, with '[{between[0]}]' between them"):
        listed(tmp_path, [f"red{between}round", "round", "red"] * 20)
    assert listed(tmp_path, ["red, white and blue", "green, dark", "grey"] * 20).tasks[0].n_classes == 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.sampled_from([0, 1, None]), min_size=N, max_size=N),
    form=st.sampled_from(["int8", "uint8", "int32", "int64", "bool", "dictionary", "text"]),
    cut=st.integers(1, N - 1),
)
def test_a_label_column_in_any_type_gives_the_same_task(
    tmp_path: Path, labels: list[int | None], form: str, cut: int
) -> None:
    drawn: list[int | None] = [*([0, 1] * 5), *labels[10:]]
    column = pa.array(drawn, pa.int64())
    if form == "bool":
        column = column.cast(pa.bool_())
    elif form == "dictionary":
        column = column.cast(pa.string()).dictionary_encode()
    elif form == "text":
        column = column.cast(pa.string())
    else:
        column = column.cast(form)
    table = pa.table(X | {"y": column, "z": ROWS // 3 % 2})
    for name, part in (("a", table.slice(0, cut)), ("b", table.slice(cut))):
        written(tmp_path, part, f"{name}.parquet")
    config = {"parquet": {"files": "[ab].parquet", "features": ["x_*"], "labels": ["y", "z"]}, "root": str(tmp_path)}
    data = load_config({"data": {**config, "constant_tasks": "drop"}}).data
    task_set = load_task_set(data, seed=0)
    if "y" in task_set.names:  # not constant in the training and test rows that were drawn
        expected = [-1 if label is None else label for label in drawn]
        assert task_set.labels[:, task_set.names.index("y")].tolist() == expected


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (pa.array([0.0, 1.0, np.nan] * 20), ["0.0", "1.0"]),
        (pd.Categorical(["b", "a", None] * 20), ["a", "b"]),
        (pa.array(["b", "a"] * 30).dictionary_encode(), ["a", "b"]),
        (ROWS % 2 == 0, ["False", "True"]),
    ],
    ids=["NaN", "categories", "dictionary", "booleans"],
)
def test_classes_of_every_kind(tmp_path: Path, classes: Any, names: list[str]) -> None:
    written(tmp_path, X | {"kind": classes})
    assert list(load(tmp_path, files="mine.parquet", features=["x_*"], classes="kind").names) == names
