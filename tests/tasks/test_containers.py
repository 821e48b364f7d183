"""Columns of labels are the same task in any container."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.errors import InputError
from stg_ray.tasks import Task, TaskSet
from tests.support.label_columns import INPUTS, NAN, N, repeated, task_and_labels


def as_float(values: list[Any], dtype: Any) -> np.ndarray:
    return np.array([NAN if v is None else v for v in values], dtype)


def as_object(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


NUMBERS: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "object": as_object,
    "float32": lambda values: as_float(values, np.float32),
    "float64": lambda values: as_float(values, np.float64),
    "masked": lambda values: np.ma.array([v or 0 for v in values], mask=[v is None for v in values]),
    "Int64": lambda values: pd.array(values, "Int64"),
    "Int8": lambda values: pd.array(values, "Int8"),
    "Float32": lambda values: pd.array(values, "Float32"),
    "category": lambda values: pd.Categorical(values),
    "arrow int16": lambda values: pa.array(values, pa.int16()),
    "arrow float": lambda values: pa.array(values, pa.float32()),
    "arrow half": lambda values: pa.array([None if v is None else np.float16(v) for v in values], pa.float16()),
    "arrow decimal": lambda values: pa.array(values, pa.int64()).cast(pa.decimal128(20, 0)),
    "arrow dictionary": lambda values: pa.array(values, pa.int32()).dictionary_encode(),
    "arrow text": lambda values: pa.array([None if v is None else str(v) for v in values]),
    "text": lambda values: as_object([None if v is None else f" {v}" for v in values]),
}
if importlib.util.find_spec("polars") is not None:
    import polars

    NUMBERS |= {
        "polars": polars.Series,
        "polars Int8": lambda values: polars.Series(values, dtype=polars.Int8),
        "polars Float32": lambda values: polars.Series(values, dtype=polars.Float32),
        "polars text": lambda values: polars.Series([None if v is None else str(v) for v in values]),
        "polars category": lambda values: polars.Series(
            [None if v is None else str(v) for v in values], dtype=polars.Categorical
        ),
    }
WHOLE: dict[str, Callable[[list[Any]], Any]] = {
    dtype: lambda values, dtype=dtype: np.array(values, dtype)
    for dtype in ("int8", "int16", "int32", "int64", "float16", "longdouble")
}
UNSIGNED: dict[str, Callable[[list[Any]], Any]] = {
    dtype: lambda values, dtype=dtype: np.array(values, dtype) for dtype in ("uint8", "uint16", "uint32", "uint64")
}
BOOLEANS: dict[str, Callable[[list[Any]], Any]] = {
    "bool objects": lambda values: as_object([None if v is None else bool(v) for v in values]),
    "boolean": lambda values: pd.array([None if v is None else bool(v) for v in values], "boolean"),
    "arrow bool": lambda values: pa.array([None if v is None else bool(v) for v in values]),
    "texts": lambda values: ["" if v is None else str(bool(v)) for v in values],
}


@settings(max_examples=40, deadline=None)
@given(
    values=st.sets(st.integers(-5, 90), min_size=2, max_size=8),
    gaps=st.booleans(),
    seed=st.integers(0, 100),
)
def test_a_column_is_the_same_task_in_any_container(values: set[int], gaps: bool, seed: int) -> None:
    """Of whatever whole numbers: the same kind, classes and labels, or the same question."""
    rng = np.random.default_rng(seed)
    rows: list[Any] = [*values, *rng.choice(sorted(values), N - len(values)).tolist()]
    rows = [None if gaps and i % 9 == 8 and i >= len(values) else v for i, v in enumerate(rows)]
    containers = dict(NUMBERS)
    if not gaps:
        containers |= WHOLE
        containers |= UNSIGNED if min(values) >= 0 else {}
    if values == {0, 1}:
        containers |= BOOLEANS
    results = {}
    for name, make in containers.items():
        try:
            task, labels = task_and_labels(make(rows))
            results[name] = (task.to_dict(), labels)
        except InputError as error:
            results[name] = ({"asked": str(error)}, [])
    first = results["list"]
    assert {name: result for name, result in results.items() if result != first} == {}


@settings(max_examples=40, deadline=None)
@given(
    columns=st.lists(st.sets(st.integers(-2, 5), min_size=1, max_size=4), min_size=2, max_size=4),
    dtype=st.sampled_from([np.int8, np.int64, np.float32, np.float64]),
    real=st.booleans(),
    missing=st.sampled_from([None, [-1], [0], [-2, 5]]),
)
def test_a_matrix_is_the_same_task_set_as_its_columns(
    columns: list[set[int]], dtype: Any, real: bool, missing: list[int] | None
) -> None:
    """Columns of a matrix are looked at closely only where that is needed: the result is that of a close look."""
    labels = np.stack([repeated(*sorted(values)) for values in columns], axis=1).astype(dtype)
    if real and labels.dtype.kind == "f":
        labels[:, 0] += 0.25
        labels[3, :] = np.nan
    names = [f"task_{t}" for t in range(len(columns))]

    def result(given: Any) -> Any:
        try:
            task_set = TaskSet.from_arrays(INPUTS, given, missing=missing)
        except InputError as error:
            return str(error)
        return task_set.digest, str(task_set.labels.dtype)

    assert result(labels) == result(dict(zip(names, labels.T, strict=True)))


@pytest.mark.parametrize("gaps", [False, True])
def test_zero_and_one_are_the_same_task_in_any_container(gaps: bool) -> None:
    rows = repeated(0, 1, 1, None) if gaps else repeated(0, 1, 1)
    containers = NUMBERS | BOOLEANS | ({} if gaps else WHOLE | UNSIGNED | {"bool": lambda v: np.array(v, bool)})
    results = {name: task_and_labels(make(rows)) for name, make in containers.items()}
    assert {name: result for name, result in results.items() if result != (Task("it"), rows)} == {}


@settings(max_examples=25, deadline=None)
@given(texts=st.sets(st.text("abcXYZ", min_size=1, max_size=4), min_size=2, max_size=6))
def test_names_are_the_same_task_in_any_container(texts: set[str]) -> None:
    rows = repeated(*sorted(texts), None)
    containers: list[Any] = [
        rows,
        as_object(rows),
        pd.Series(rows),
        pd.Categorical(rows),
        pd.array(rows, "string"),
        pa.array(rows),
        pa.array(rows, pa.large_string()),
        pa.array(rows).dictionary_encode(),
        ["" if row is None else row for row in rows],
        np.array(["nan" if row is None else row for row in rows]),
    ]
    first = task_and_labels(rows)
    assert first[0].classes == tuple(sorted(texts)) or {t.lower() for t in texts} == {"n", "y"}
    for container in containers:
        assert task_and_labels(container) == first


def test_matrices_of_texts_and_objects() -> None:
    texts = np.stack([repeated("yes", "no"), repeated("0", "1")], axis=1)
    assert [task.classes for task in TaskSet.from_arrays(INPUTS, texts).tasks] == [("no", "yes"), None]
    objects = np.stack([as_object(repeated(True, None, False)), as_object(repeated(1.5, 2.5))], axis=1)
    assert [task.kind for task in TaskSet.from_arrays(INPUTS, objects).tasks] == ["binary", "regression"]
