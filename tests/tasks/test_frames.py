"""Data frames: names of columns are kept, gaps are missing labels, and types of columns tell classes from numbers."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

N = 40
RNG = np.random.default_rng(0)


@pytest.fixture
def frame() -> pd.DataFrame:
    """Two inputs, tasks of every type of column, and a split."""
    frame = pd.DataFrame({"x_a": RNG.normal(size=N), "x_b": np.arange(N)})
    frame["y_bool"] = np.arange(N) % 2 == 0
    frame["y_gaps"] = pd.array([None if i == 3 else bool(i % 2) for i in range(N)], dtype="boolean")
    frame["y_class"] = pd.array([None if i == 5 else i % 3 for i in range(N)], dtype="Int64")
    frame["y_int"] = np.where(np.arange(N) == 7, -1, np.arange(N) % 4)
    frame["split"] = ["train"] * 30 + ["test"] * 10
    return frame


def test_names_kinds_and_gaps_come_from_the_columns(frame: pd.DataFrame) -> None:
    task_set = TaskSet.from_frame(frame, labels="y_*", split="split", groups={"y_class": "classes", "y_int": "classes"})
    assert [(task.name, task.kind, task.n_classes, task.group) for task in task_set.tasks] == [
        ("y_bool", "binary", 2, None),
        ("y_gaps", "binary", 2, None),
        ("y_class", "multiclass", 3, "classes"),
        ("y_int", "multiclass", 4, "classes"),
    ]
    assert task_set.labels.dtype == np.int8
    assert np.argwhere(task_set.labels == -1).tolist() == [[3, 1], [5, 2], [7, 3]]
    assert task_set.inputs.shape == (N, 2)
    np.testing.assert_array_equal(task_set.inputs[:, 1], np.arange(N))
    assert np.array_equal(task_set.split == 2, frame["split"] == "test")


def test_polars_frames_are_as_those_of_pandas(frame: pd.DataFrame) -> None:
    polars = pytest.importorskip("polars")
    frame["y_text"] = pd.Categorical(["red", "green", None, "blue"] * (N // 4))
    frame["y_value"] = np.where(np.arange(N) == 9, np.nan, RNG.normal(size=N))
    columns = {name: [None if pd.isna(value) else value for value in frame[name].tolist()] for name in frame}
    types = {"y_text": polars.Categorical, "y_class": polars.Int64, "y_int": polars.Int8, "y_value": polars.Float32}
    given = polars.DataFrame(columns, schema_overrides=types)
    options = {"labels": "y_*", "split": "split", "kinds": {"y_int": "multiclass"}, "missing": {"y_int": [-1]}}
    found, expected = (TaskSet.from_frame(own, **options) for own in (given, frame))
    assert found.tasks[:-1] == expected.tasks[:-1]
    assert np.array_equal(found.inputs, expected.inputs)
    assert np.allclose(found.labels, expected.labels, equal_nan=True)
    assert np.array_equal(found.split, expected.split)
    parts = TaskSet.from_arrays(given.select("x_a", "x_b"), given.select(polars.col("^y_.*$")), missing={"y_int": [-1]})
    assert parts.names == found.names
    if hasattr(pa, "string_view"):  # as polars itself hands its texts out
        views = TaskSet.from_frame(given.to_arrow(), **options)
        assert np.array_equal(views.labels, found.labels, equal_nan=True)
    with pytest.raises(InputError, match=r"LazyFrame is no data frame: .*\(collect\(\) makes one of it\)"):
        TaskSet.from_frame(given.lazy(), labels="y_*")


def test_columns_may_be_called_by_numbers() -> None:
    frame = pd.DataFrame(np.stack([np.arange(N) % 2, RNG.normal(size=N), RNG.normal(size=N)], axis=1))
    assert TaskSet.from_frame(frame, labels=0).names == ("0",)


def test_what_is_told_of_a_task_is_not_told_of_others_that_its_name_fits_as_a_pattern() -> None:
    frame = pd.DataFrame({name: np.arange(N) % 2 for name in ("dose[24h]", "dose2", "other")})
    task_set = TaskSet.from_arrays(
        RNG.normal(size=(N, 2)), frame, kinds={"dose[24h]": "multiclass", "o*": "regression"}
    )
    assert [task.kind for task in task_set.tasks] == ["multiclass", "binary", "regression"]


def test_classes_stay_classes_beside_a_regression(frame: pd.DataFrame) -> None:
    """With gaps they would be floating point in an array, and taken for numbers."""
    frame["y_value"] = np.where(np.arange(N) == 9, np.nan, RNG.normal(size=N))
    task_set = TaskSet.from_frame(frame, labels="y_*", features=["x_b", "x_a"], split="split")
    assert [task.kind for task in task_set.tasks] == ["binary", "binary", "multiclass", "multiclass", "regression"]
    assert task_set.labels.dtype == np.float32
    assert np.argwhere(np.isnan(task_set.labels)).tolist() == [[3, 1], [5, 2], [7, 3], [9, 4]]
    np.testing.assert_array_equal(task_set.inputs[:, 0], np.arange(N))
    counts = TaskSet.from_frame(frame, labels=["y_int", "y_bool"], features="x_*", kinds={"y_int": "regression"})
    assert [task.kind for task in counts.tasks] == ["regression", "binary"]
    assert counts.labels[7, 0] == -1, "of a regression -1 is a value"


def test_frames_and_arrays_give_the_same(frame: pd.DataFrame) -> None:
    columns = ["y_bool", "y_int"]
    arrays = TaskSet.from_arrays(frame[["x_a", "x_b"]].to_numpy(), frame[columns].to_numpy(int), names=columns)
    for inputs in (frame[["x_a", "x_b"]], frame[["x_a", "x_b"]].to_numpy()):
        assert TaskSet.from_arrays(inputs, frame[columns]).digest == arrays.digest
    assert TaskSet.from_frame(frame.drop(columns="split"), labels=columns, features="x_*").digest == arrays.digest
    assert TaskSet.from_arrays(inputs, frame[columns], names=["a", "b"]).names == ("a", "b")
    rows = frame.set_axis(np.arange(N)[::-1], axis=0)  # an index is no column
    assert TaskSet.from_arrays(rows[["x_a", "x_b"]], rows[columns]).digest == arrays.digest


class Polars:
    """A data frame of another library, which Arrow can read."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.columns = table, table.column_names

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def test_frames_of_other_libraries(frame: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(frame)
    expected = TaskSet.from_frame(frame, labels="y_*", split="split").digest
    assert TaskSet.from_frame(table, labels="y_*", split="split").digest == expected
    assert TaskSet.from_frame(Polars(table), labels="y_*", split="split").digest == expected


def test_bad_features_are_refused_together(frame: pd.DataFrame) -> None:
    columns = {"day": pd.date_range("2024", periods=N), "plan": pd.Categorical(["a", "b"] * (N // 2)), "income": None}
    columns |= {f"text_{i}": ["x"] * N for i in range(5)}
    message = (
        "columns without numbers: 'day' holds dates; 'plan' holds categories; 'text_0', 'text_1', 'text_2' and 2 more "
        "hold text; 'income' holds gaps "
    )
    with pytest.raises(InputError, match=message):
        TaskSet.from_frame(frame.drop(columns="split").assign(**columns), labels="y_*")


def test_small_inputs_stay_small(frame: pd.DataFrame) -> None:
    frame["bit"], frame["pixel"] = frame["y_bool"], np.arange(N, dtype=np.uint8)
    assert TaskSet.from_arrays(frame[["bit", "pixel"]], frame[["y_bool"]]).inputs.dtype == np.uint8


def test_names_of_columns_that_are_numbers() -> None:
    labels = pd.DataFrame(np.stack([np.arange(N) % 2, np.arange(N) % 3], axis=1))
    assert TaskSet.from_arrays(np.zeros((N, 1)), labels).names == ("0", "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "z_*"}, r"labels: unknown column 'z_\*'"),
        ({"labels": "y_*", "features": ["x_c"]}, "features: unknown column 'x_c': did you mean 'x_"),
        ({"labels": "y_*", "features": ["x_a", "y_int"]}, "'y_int' is among the features and among the labels"),
        ({"labels": "y_*", "split": "fold"}, "split: unknown column 'fold'"),
        ({"labels": "y_*", "features": "x_*", "kinds": {"x_a": "binary"}}, "kinds: unknown task 'x_a'"),
        ({"labels": "y_*"}, "columns without numbers: 'split' holds text .expected numbers or booleans for an input"),
        (
            {"labels": ["day", "y_int"], "features": "x_*"},
            "'day' holds dates: expected numbers, texts or booleans",
        ),
        ({"labels": "*"}, "no column beside the labels"),
    ],
)
def test_wrong_columns_are_named(frame: pd.DataFrame, options: dict, message: str) -> None:
    if "day" in options["labels"]:
        frame["day"] = pd.Timestamp("2026-01-01")
    with pytest.raises(InputError, match=message):
        TaskSet.from_frame(frame, **options)


def test_what_is_no_frame_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="ndarray is no data frame: expected one of pandas, polars or pyarrow"):
        TaskSet.from_frame(frame.to_numpy(), labels="y")
    frame["mixed"] = pd.Series([1, "a"] * (N // 2), dtype=object)
    with pytest.raises(InputError, match=r"^the data frame cannot be read: Could .* in the column 'mixed': write all"):
        TaskSet.from_frame(frame, labels="y_*")
    twice = [*frame.columns[:-2], 1, "1"]
    for other in (frame.set_axis(twice, axis=1), pa.table([frame["y_int"]] * len(twice), names=list(map(str, twice)))):
        with pytest.raises(InputError, match=r"^the data frame has 2 columns named '1': rename or remove one$"):
            TaskSet.from_frame(other, labels="y_*")
    with pytest.raises(InputError, match="1 kinds for 2 tasks"):
        TaskSet.from_arrays(np.zeros((N, 1)), frame[["y_int", "y_bool"]], kinds=["binary"])
    with pytest.raises(InputError, match="2 columns named 'a'"):
        TaskSet.from_arrays(np.zeros((N, 1)), pa.table([frame["y_int"], frame["y_bool"]], names=["a", "a"]))


def test_how_a_task_set_is_shown(frame: pd.DataFrame) -> None:
    frame = frame.rename(columns={"y_int": "y_<script>"})
    task_set = TaskSet.from_frame(frame, labels="y_*", split="split")
    assert repr(task_set) == (
        "TaskSet(40 samples of (2,) float32, 4 tasks: 2 binary, 2 multiclass; 26 train, 4 val, 10 test)"
    )
    page = task_set._repr_html_()
    assert html.escape("y_<script>") in page
    assert "<script>" not in page
    assert "<td>39</td>" in page, "labels that are present"
    many = TaskSet.from_arrays(np.zeros((N, 1)), np.stack([np.arange(N) % 2] * 15, axis=1))
    assert "and 5 more" in many._repr_html_()


def test_the_digest_is_of_the_contents(frame: pd.DataFrame) -> None:
    task_set = TaskSet.from_frame(frame, labels="y_*", split="split")
    same = TaskSet.from_frame(frame.copy(), labels="y_*", split="split")
    assert task_set.digest == same.digest
    frame["x_a"] = frame["x_a"] + np.eye(N)[0]
    assert TaskSet.from_frame(frame, labels="y_*", split="split").digest != same.digest
    named = TaskSet.from_arrays(same.inputs, same.labels, split=np.array(["train", "val", "test"])[same.split])
    assert named.digest != same.digest
