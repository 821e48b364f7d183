"""Columns as people have them: what becomes an input, what a label, and what is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stg_ray.errors import InputError
from stg_ray.tasks.notes import DataWarning
from tests.support.tables import ROWS, N, X, Y, load, written

SPLIT = {"split": np.array(["train", "val", "test"])[np.repeat([0, 1, 2], [40, 8, 12])]}


@pytest.mark.parametrize(
    ("features", "labels", "expected"),
    [
        (["*"], ["y_*"], ["x_a", "x_b"]),
        (["*"], ["y_1", "y_2"], ["x_a", "x_b"]),
        (["*", "!x_b"], ["y_*"], ["x_a"]),
        (["x_*"], ["*"], ["x_a", "x_b"]),
        (["x_a"], ["*", "!x_*"], ["x_a"]),
        (["[xy]_*"], ["y_1", "y_2"], ["x_a", "x_b"]),
        ("x_a", ["y_*"], ["x_a"]),
        (["x_b", "x_a"], ["y_*"], ["x_b", "x_a"]),
    ],
)
def test_labels_and_splits_are_no_inputs(tmp_path: Path, features: Any, labels: list[str], expected: list[str]) -> None:
    written(tmp_path, X | Y | SPLIT)
    task_set = load(tmp_path, files="mine.parquet", features=features, labels=labels, split="split")
    assert np.allclose(task_set.inputs, np.stack([X[name] for name in expected], axis=1))
    assert task_set.features == tuple(expected)
    assert set(task_set.names) in ({"1", "2"}, {"y_1", "y_2"})


def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path) -> None:
    twins = {"x[12]": X["x_a"], "x1": X["x_b"], "x2": -X["x_a"]}
    written(tmp_path, twins | Y)
    for features, expected in ((["x[12]"], ("x[12]",)), (["x*", "!x[12]"], ("x1", "x2"))):
        assert load(tmp_path, files="mine.parquet", features=features, labels=["y_*"]).features == expected


@pytest.mark.parametrize("index", ["__index_level_0__", "customer"])
def test_the_index_of_a_frame_is_no_input(tmp_path: Path, index: str) -> None:
    frame = pd.DataFrame(X | Y, index=pd.Index(ROWS[::-1] * 1.0, name=None if "level" in index else index))
    frame.to_parquet(tmp_path / "mine.parquet", index=True)
    assert index in pq.read_schema(tmp_path / "mine.parquet").names
    with pytest.warns(DataWarning, match=f"the column '{index}' is the index of a data frame and is left out of"):
        assert load(tmp_path, files="mine.parquet", features=["*"], labels=["y_*"]).inputs.shape == (N, 2)


def test_classes_and_super_classes_are_no_inputs(tmp_path: Path) -> None:
    written(tmp_path, X | {"kind": ROWS % 4, "family": ROWS % 4 // 2})
    task_set = load(tmp_path, files="mine.parquet", features=["*"], classes="kind", groups="family")
    assert task_set.inputs.shape == (N, 2)


FEATURES = {
    "booleans": (ROWS % 3 == 0, np.float32),
    "small": ((ROWS % 250).astype(np.uint8), np.float32),
    "decimals": (pa.array(ROWS.astype(float)).cast(pa.decimal128(9, 2)), np.float32),
    "dictionary": (pa.array(ROWS % 5).dictionary_encode(), np.float32),
    "half": (ROWS.astype(np.float16), np.float32),
    "nullable": (pd.array(ROWS, "Int16"), np.float32),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_features_of_every_kind_of_number(tmp_path: Path, kind: str) -> None:
    column = FEATURES[kind][0]
    written(tmp_path, {"x_a": X["x_a"], "x_b": column} | Y)
    task_set = load(tmp_path, files="mine.parquet", features=["x_*"], labels=["y_*"])
    values = column.to_pylist() if isinstance(column, pa.Array) else column
    assert np.allclose(task_set.inputs[:, 1], np.asarray(values, np.float64))


def test_booleans_alone_stay_small(tmp_path: Path) -> None:
    written(tmp_path, {"x_a": ROWS % 3 == 0, "x_b": ROWS % 2 == 0} | Y)
    task_set = load(tmp_path, files="mine.parquet", features=["x_*"], labels=["y_*"])
    assert task_set.inputs.dtype == np.uint8
    assert np.array_equal(task_set.inputs[:, 0], ROWS % 3 == 0)


@pytest.mark.parametrize("fixed", [True, False])
def test_vectors_are_inputs(tmp_path: Path, fixed: bool) -> None:
    vectors = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(vectors.ravel(), 5) if fixed else pa.array(list(vectors))
    written(tmp_path, {"embedding": column} | Y)
    task_set = load(tmp_path, files="mine.parquet", features=["embedding"], labels=["y_*"])
    assert np.array_equal(task_set.inputs, vectors)


def test_tensors_keep_their_shape(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (N, 1, 4, 3)).astype(np.uint8)
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    for column in (tensors, pa.array(images.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8()))))):
        written(tmp_path, {"image": column} | Y)
        task_set = load(tmp_path, files="mine.parquet", features=["image"], labels=["y_*"])
        assert task_set.inputs.dtype == np.uint8
        assert np.array_equal(task_set.inputs, images)


def with_hole(value: float | None) -> pa.Array:
    return pa.array([value if row == 7 else float(row) for row in range(N)])


WRONG_FEATURES = {
    "null": (
        with_hole(None),
        r"'x_b' is missing \(null or NaN\) in 1 of 60 rows, the first is row 7 of .*mine.parquet",
    ),
    "nan": (with_hole(np.nan), r"'x_b' is missing \(null or NaN\) in 1 of 60"),
    "infinite": (with_hole(np.inf), "'x_b' is infinite in 1 of 60"),
    "huge": (with_hole(1.7976931348623157e308), r"'x_b' is 1.79769e\+308, beyond float32's 3.4e\+38, in 1 of 60"),
    "null among booleans": (
        pa.array([None if row == 7 else True for row in range(N)]),
        r"'x_b' is missing \(null or NaN\) in 1 of 60",
    ),
    "text": (["a"] * N, "a number: 'x_b' holds text .expected numbers: .*leave a column out with '!NAME'"),
    "dates": (pa.array([0] * N, pa.timestamp("s")), "a number: 'x_b' holds dates "),
    "ragged": ([[1.0] * (2 + row // 50) for row in range(N)], "vector 'x_b' has 3 values in row 50 and 2 in row 0"),
    "ragged within": ([[[1.0] * (1 + row // 50)] * 2 for row in range(N)], "2 values in row 50 and 1 in row 0"),
    "empty vectors": ([[]] * N, "expected one length, from 1"),
    "huge in a vector": (
        [[1.0, 1e300 if row == 7 else 2.0] for row in range(N)],
        r"float32's 3.4e\+38 in 1 of 60 rows",
    ),
    "null vector": ([None if row == 7 else [1.0] for row in range(N)], r"'x_b' is missing \(null\) in row 7"),
}


@pytest.mark.parametrize("kind", WRONG_FEATURES)
def test_features_without_a_number_are_named(tmp_path: Path, kind: str) -> None:
    column, message = WRONG_FEATURES[kind]
    written(tmp_path, {"x_a": X["x_a"], "x_b": column} | Y)
    with pytest.raises(InputError, match=message):
        load(tmp_path, files="mine.parquet", features=["x_*"], labels=["y_*"])


def test_a_partitioned_directory_as_spark_writes_it(tmp_path: Path) -> None:
    table = pa.table(X | Y)
    for number, (split, start, stop) in enumerate([("train", 0, 40), ("val", 40, 48), ("test", 48, 60)]):
        written(tmp_path, table.slice(start, stop - start), f"set/split={split}/part-{number:05d}.snappy.parquet")
    (tmp_path / "set" / "_SUCCESS").touch()
    (tmp_path / "set" / "split=train" / ".part-00000.snappy.parquet.crc").write_bytes(b"crc")
    (tmp_path / "set" / "README.md").write_text("words")
    for files in ("set", "set/*=*", "set/*/*.parquet"):
        task_set = load(tmp_path, files=files, features=["*"], labels=["y_*"], split="split")
        assert task_set.inputs.shape == (N, 2)
        assert sorted(len(task_set.rows(split)) for split in ("train", "val", "test")) == [8, 12, 40]


def test_files_by_split(tmp_path: Path) -> None:
    written(tmp_path, pa.table(X | Y).slice(0, 40), "train.parquet")
    written(tmp_path, pa.table(X | Y).slice(40), "test.parquet")
    files = {"train": "train.parquet", "test": ["test.parquet"]}
    task_set = load(tmp_path, files=files, features=["*"], labels=["y_*"])
    assert task_set.rows("test").tolist() == list(range(40, 60))


UNLIKE = {
    "text and dictionary": (pa.array(["a", "b"] * 15), pa.array(["b", "c"] * 15).dictionary_encode()),
    "short and long": (pa.array([0, 1] * 15, pa.int32()), pa.array([1, 2] * 15, pa.int64())),
    "booleans and numbers": (pa.array([True, False] * 15), pa.array([0, 1] * 15, pa.int8())),
    "null and numbers": (pa.nulls(30), pa.array([0, 1] * 15)),
    "text and large text": (pa.array(["a", "b"] * 15), pa.array(["b", "c"] * 15, pa.large_string())),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_files_with_types_that_go_together(tmp_path: Path, kind: str) -> None:
    for number, column in enumerate(UNLIKE[kind]):
        columns = {"y": column, "x": X["x_b"][:30] + number, "z": ROWS[:30] // 2 % 2}
        written(tmp_path, dict(reversed(columns.items())) if number else columns, f"part-{number}.parquet")
    task_set = load(tmp_path, files="part-*.parquet", features=["x"], labels=["y", "z"])
    together = pa.concat_arrays([c.cast(pa.string()) if "ext" in kind else c.cast(pa.int64()) for c in UNLIKE[kind]])
    expected = [{"a": 0, "b": 1, "c": 2, None: -1}.get(value, value) for value in together.to_pylist()]
    assert task_set.labels[:, 0].tolist() == expected


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "text and numbers": (
        {"a": X | Y, "b": X | Y | {"y_1": ["a"] * N}},
        {},
        "the column 'y_1' holds text in .*b.parquet and whole numbers in .*a.parquet: write it with one type",
    ),
    "no column": ({"a": X | Y, "b": X | {"y_1": Y["y_1"]}}, {}, "different columns: 'y_2' is missing"),
    "no rows": ({"a": pa.table(X | Y).slice(0, 0)}, {}, "a.parquet has no row"),
    "no rows in both": (
        {"a": pa.table(X | Y).slice(0, 0), "b": pa.table(X | Y).slice(0, 0).replace_schema_metadata({"k": "v"})},
        {},
        "and the other files have no row",
    ),
    "a column twice": (
        {"a": pa.table([*X.values(), *Y.values(), ROWS], [*X, *Y, "x_b"])},
        {},
        "a.parquet has 2 columns named 'x_b': rename or remove one",
    ),
    "feature and label by name": ({"a": X | Y}, {"features": ["y_1", "x_a"], "labels": ["y_1", "y_2"]}, "'y_1' is in"),
    "feature and label by pattern": ({"a": X | Y}, {"features": ["*1", "x_a"]}, r"'y_1' is in .*features and in"),
    "all both": ({"a": X | Y}, {"features": ["*"], "labels": ["*"]}, "is in data.parquet.features and"),
    "split as a feature": (
        {"a": X | Y | SPLIT},
        {"features": ["split"], "split": "split"},
        "is an input or a label and",
    ),
    "nothing left": ({"a": Y}, {"features": ["*"]}, "features: no column is left"),
    "near name": ({"a": X | Y}, {"features": ["x_aa"]}, "did you mean 'x_a'"),
    "null in the split": (
        {"a": X | Y | {"split": ["train", "test", None] * 20}},
        {"split": "split"},
        "'split' is null in 20 rows",
    ),
    "named twice": ({"a": X | Y}, {"files": ["a.parquet", "a.par*"]}, "a.parquet twice: .*name it once"),
    "copied": ({"a": X | Y, "b": X | Y}, {}, "b.parquet is a copy of .*a.parquet"),
    "two splits": (
        {"a": X | Y | SPLIT},
        {"files": {"train": "a.parquet"}, "split": "split"},
        "the splits are given twice",
    ),
    "labels of text without classes": (
        {"a": {"x_a": np.arange(1200), "y_1": [f"label {row}" for row in range(1200)], "y_2": np.arange(1200) % 2}},
        {},
        "'y_1' holds text with 1,200 different values .*set data.parquet.separator",
    ),
    "labels of unlike vectors": (
        {"a": X | Y | {"y_1": [[0.5] * (1 + row % 2) for row in range(N)]}},
        {},
        "of 2 lengths: expected vectors of one length",
    ),
    "images of numbers": (
        {"a": X | Y},
        {"features": [], "image": "x_a"},
        "'x_a' holds numbers with fractions: exp",
    ),
    "no image": (
        {"a": X | Y | {"image": pa.nulls(N, pa.binary())}},
        {"features": [], "image": "image"},
        "a.parquet: there is no image in row 0: remove the row",
    ),
    "bits of numbers": (
        {"a": X | Y},
        {"features": [], "bits": "x_a"},
        "'x_a' holds numbers with fractions: expected b",
    ),
    "classes of lists": (
        {"a": X | {"kind": [["a"]] * N}},
        {"labels": [], "classes": "kind"},
        "'kind' holds lists of text: expected one class for each row",
    ),
    "classes of null": (
        {"a": X | {"kind": pa.nulls(N)}},
        {"labels": [], "classes": "kind"},
        "the column of classes 'kind' is null in all rows",
    ),
    "labels of null": (
        {"a": X | Y | {"y_1": pa.nulls(N)}},
        {},
        "'1' has no label at all: remove it .of data .*data.constant_tasks=drop",
    ),
    "labels of dates": ({"a": X | Y | {"y_1": pa.array([0] * N, pa.date32())}}, {}, "'y_1' holds dates: expected num"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(tmp_path: Path, kind: str) -> None:
    files, options, message = REFUSED[kind]
    for name, columns in files.items():
        written(tmp_path, columns, f"{name}.parquet")
    with pytest.raises(InputError, match=message) as raised:
        load(tmp_path, **{"files": "[ab].parquet", "features": ["x_*"], "labels": ["y_*"], **options})
    assert "\n" not in str(raised.value)
