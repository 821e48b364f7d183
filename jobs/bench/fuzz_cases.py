"""Strange inputs and settings for `jobs.bench.fuzz` and the tests: what they are made of, and how they are drawn."""

from __future__ import annotations

import datetime
import math
import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pydantic import BaseModel

from stg_ray.config import Config
from stg_ray.tasks import TaskSet

LABELS: dict[str, list[Any]] = {
    "0 and 1": [0, 1],
    "-1 and 1": [-1, 1],
    "0, 1, -1": [0, 1, -1],
    "booleans": [True, False],
    "texts": ["red", "green", "blue"],
    "numbers as texts": ["1", "2", "3"],
    "odd texts": ["a,b", 'say "a"', "nan", "", " ", "é\u2028"],
    "whole floats": [0.0, 1.0, 2.0],
    "halves": [0.5, 1.5, 2.5, -3.25],
    "gaps": [0, 1, None],
    "NaN": [0.0, 1.0, math.nan],
    "constant": [7],
    "nothing": [None],
    "infinite": [0.0, 1.0, math.inf],
    "huge classes": [2**40, 2**40 + 1, 2**62],
    "huge numbers": [1e300, -1e300, 0.5],
    "small numbers": [1e-300, 2e-300, 5e-324],
    "unsigned": [2**64 - 1, 2**63, 0],
    "dates": [datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)],
    "times": [datetime.datetime(2020, 1, 1, 12), datetime.datetime(2021, 1, 1)],
    "decimals": [Decimal("1.5"), Decimal("2.25")],
    "bytes": [b"a", b"b"],
    "lists of names": [["a"], ["a", "b"], []],
    "structs": [{"a": 1}, {"a": 2}],
    "quantities": [float(v) + 0.25 for v in range(40)],
    "many whole numbers": list(range(40)),
}
"""Values of a column of labels, by what they are."""

FEATURES: dict[str, tuple[list[Any], pa.DataType | None]] = {
    "float64": ([0.1, -2.5, 3.0], pa.float64()),
    "float32": ([0.1, -2.5, 3.0], pa.float32()),
    "float16": ([np.float16(0.5), np.float16(2)], pa.float16()),
    "int8": ([-128, 127, 0], pa.int8()),
    "int64": ([-(2**62), 2**62, 1], pa.int64()),
    "uint8": ([0, 255, 7], pa.uint8()),
    "uint64": ([0, 2**64 - 1], pa.uint64()),
    "booleans": ([True, False], pa.bool_()),
    "constant": ([3.0], pa.float64()),
    "gaps": ([0.5, None], pa.float64()),
    "NaN": ([0.5, math.nan], pa.float64()),
    "infinite": ([0.5, math.inf], pa.float64()),
    "huge": ([1e300, 0.5], pa.float64()),
    "subnormal": ([1e-44, 2e-44], pa.float64()),
    "texts": (["a", "b"], pa.string()),
    "numbers as texts": (["1.5", "2.5"], pa.string()),
    "categories": (["a", "b"], pa.dictionary(pa.int8(), pa.string())),
    "decimals": ([Decimal("1.5"), Decimal("2.25")], pa.decimal128(10, 2)),
    "dates": ([datetime.date(2020, 1, 1), datetime.date(2021, 1, 1)], pa.date32()),
    "lists": ([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64())),
    "ragged lists": ([[1.0], [3.0, 4.0]], pa.list_(pa.float64())),
    "fixed lists": ([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2)),
    "structs": ([{"a": 1}, {"a": 2}], None),
    "nulls": ([None], pa.null()),
    "bytes": ([b"a", b"b"], pa.binary()),
}
"""Values and type of a column of inputs, by what they are."""

SPLIT_COLUMNS: dict[str, list[Any] | None] = {
    "none": None,
    "three": ["train", "val", "test", "train"],
    "two": ["train", "test"],
    "one": ["train"],
    "unknown": ["train", "test", "dev"],
    "null": ["train", None],
    "numbers": [0, 1],
}
SOURCES = ("parquet", "csv", "npz", "npy", "arrays", "frame")
ROWS = (0, 1, 19, 20, 60, 150)

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 10**6, 10**12, 10**18, -(10**18), 2**64, 10**400, 0.0, 0.5, -0.5, 1.0,
    1e-300, 1e300,
    math.inf, -math.inf, math.nan, "", " ", "auto", "all", "none", "x" * 300, "a\0b", "\ud800", "~no-such-user/a",
    "../..",
    "/", "a:b", "sys:exit", ":", "*", "[", "é", [], [[]], [None], ["auto"], [1, 2], [2, 1], ["data_map",
    "data_map"], [[[[1]]]], {},
    {"a": 1}, {"": None}, {"a": {"b": [1]}}, {1: 2}, {"a": math.nan}, datetime.date(2020, 1, 1), b"bytes", {1, 2},
    (1, 2), 1 + 2j,
    "retrain", "spectral", "ours", ["ours"], ["known"], ["tag"], ["random"], "profiled", "budget", "resnet18",
    "cnn", "pretrained",
]  # fmt: skip
"""Values for a setting; for each some are right."""


def settings_of(section: type[BaseModel] = Config, above: tuple[str, ...] = ()) -> list[str]:
    """Return all settings, as section.key; those of sections within sections too."""
    found = []
    for key, info in section.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += settings_of(inner, (*above, key))
        found.append(".".join((*above, key)))
    return found


@dataclass(frozen=True)
class Case:
    """An input and a setting; see the tables above for the names."""

    source: str
    rows: int
    features: tuple[str, ...]
    labels: tuple[str, ...]
    split: str
    setting: str
    value: Any = field(repr=False)
    seed: int = 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """The structure of the input, and the setting."""
        size = "no row" if self.rows == 0 else "few rows" if self.rows < 20 else "rows"
        return (self.source, size, self.features, self.labels, self.split, self.setting)


def cases() -> st.SearchStrategy[Case]:
    """Return a strategy of cases: most have ordinary columns beside a strange one."""
    labels = st.sampled_from(list(LABELS))
    features = st.sampled_from(list(FEATURES))
    return st.builds(
        Case,
        source=st.sampled_from(SOURCES),
        rows=st.sampled_from((60, 60, 150, *ROWS)),
        features=st.one_of(st.tuples(st.just("float64"), features), st.tuples(st.just("float64"))),
        labels=st.one_of(
            st.tuples(st.just("0 and 1"), labels),
            st.tuples(st.just("0 and 1"), st.just("texts"), labels),
            st.tuples(labels),
        ),
        split=st.sampled_from(("none", "none", *SPLIT_COLUMNS)),
        setting=st.sampled_from(("", "", *settings_of())),
        value=st.sampled_from(STRANGE),
        seed=st.integers(0, 3),
    )


def any_case(rng: random.Random, names: list[str]) -> Case:
    """Draw a case for the long run: mostly ordinary columns and sizes, so that as much is laid out as is refused.

    Args:
        names: of settings.
    """
    strange_label, strange_feature = rng.choice(list(LABELS)), rng.choice(list(FEATURES))
    return Case(
        source=rng.choice(SOURCES),
        rows=rng.choice((*(60, 150) * 8, *ROWS)),
        features=("float64",) if rng.random() < 0.6 else ("float64", strange_feature),
        labels=rng.choice([("0 and 1", "texts", "booleans"), ("0 and 1", strange_label), (strange_label, "0 and 1")]),
        split=rng.choice((*("none", "three") * 8, *SPLIT_COLUMNS)),
        setting="" if rng.random() < 0.5 else rng.choice(names),
        value=rng.choice(STRANGE),
        seed=rng.randrange(4),
    )


def column(values: list[Any], rows: int, rng: random.Random) -> list[Any]:
    """Return so many of the values: each of them, and then any."""
    return [values[i] if i < len(values) else rng.choice(values) for i in range(rows)]


def arrow(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    if kind is None and any(isinstance(value, int) and value >= 2**63 for value in values):
        kind = pa.uint64()
    return pa.array(values, kind)


@dataclass
class Given:
    """A case's columns, and the section of its configuration."""

    features: list[list[Any]]
    labels: list[list[Any]]
    data: dict[str, Any]
    task_set: TaskSet | None = None


def give(case: Case) -> Given:
    """Write the input of a case into the current directory.

    Raises:
        InputError: the case is one of Python's own functions, which refuse it.
        pa.ArrowException, TypeError, ValueError, OverflowError: no file can hold it.
    """
    rng = random.Random(case.seed)
    features = [column(FEATURES[name][0], case.rows, rng) for name in case.features]
    for values in features[:1]:  # an ordinary one has a value of its own in every row
        values[:] = [rng.gauss(0, 1) for _ in values]
    labels = [column(LABELS[name], case.rows, rng) for name in case.labels]
    entries = SPLIT_COLUMNS[case.split]
    split = None if entries is None else column(entries, case.rows, rng)
    if case.source in ("parquet", "csv", "frame"):
        columns = {
            f"x{i}": arrow(v, FEATURES[n][1]) for i, (n, v) in enumerate(zip(case.features, features, strict=True))
        }
        columns |= {f"y{i}": arrow(v) for i, v in enumerate(labels)}
        columns |= {} if split is None else {"split": pa.array(split)}
        table = pa.table(columns)
        if case.source == "frame":
            made = TaskSet.from_frame(table, labels="y*", features="x*", split=None if split is None else "split")
            return Given(features, labels, {"npz": "none.npz"}, made)
        config: dict[str, Any] = {"files": f"a.{case.source}", "features": ["x*"], "labels": ["y*"]}
        config |= {} if split is None else {"split": "split"}
        if case.source == "parquet":
            pq.write_table(table, "a.parquet", row_group_size=rng.choice((7, 1000)))
        else:
            pa.csv.write_csv(table, "a.csv")
        return Given(features, labels, {case.source: config})
    inputs, matrix = (np.array(columns).T for columns in (features, labels))
    if case.source == "arrays":
        return Given(features, labels, {"npz": "none.npz"}, TaskSet.from_arrays(inputs, matrix, split=split))
    more = {} if split is None else {"split": np.array(split)}
    if case.source == "npz":
        np.savez("a.npz", inputs=inputs, labels=matrix, **more)
        return Given(features, labels, {"npz": "a.npz"})
    for name, array in {"x": inputs, "y": matrix, **more}.items():
        np.save(f"{name}.npy", array)
    return Given(
        features, labels, {"npy": {"inputs": "x.npy", "labels": "y.npy"} | ({"split": "split.npy"} if more else {})}
    )


def configuration(case: Case, data: dict[str, Any]) -> dict[str, Any]:
    """Return sections with the case's setting on top."""
    values: dict[str, Any] = {"data": dict(data), "affinity": {"methods": ["landscape"]}}  # which takes every kind
    if case.setting:
        *path, last = case.setting.split(".")
        at = values
        for section in path:
            at = at.setdefault(section, {})
        at[last] = case.value
    return values
