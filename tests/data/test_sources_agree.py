"""The same column of labels is the same task, or the same question, whatever source it comes from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import written

N = 40
X = np.random.default_rng(0).normal(size=N).astype(np.float32)
HALF = np.arange(N) // 2 % 2
Label = int | float | str | None
Rows = list[Label]


def load(folder: Path, **data: Any) -> TaskSet:
    return load_task_set(load_config({"data": {"root": str(folder), **data}}).data, seed=0)


def texts(rows: Rows, gap: str) -> list[str]:
    return [gap if label is None else str(label) for label in rows]


def csv(folder: Path, rows: Rows) -> TaskSet:
    lines = [f"{x},{label},{half}" for x, label, half in zip(X, texts(rows, ""), HALF, strict=True)]
    (folder / "a.csv").write_text("\n".join(["x,y,half", *lines]))
    return load(folder, csv={"files": "a.csv", "features": ["x"], "labels": ["y", "half"]})


def arff(folder: Path, rows: Rows) -> TaskSet:
    is_text = any(isinstance(label, str) for label in rows)
    kind = f"{{{','.join(sorted({str(label) for label in rows if label is not None}))}}}" if is_text else "numeric"
    header = ["@relation m", "@attribute x numeric", f"@attribute y {kind}", "@attribute half {0,1}", "@data"]
    lines = [f"{x},{label},{half}" for x, label, half in zip(X, texts(rows, "?"), HALF, strict=True)]
    (folder / "a.arff").write_text("\n".join([*header, *lines]))
    return load(folder, arff={"files": "a.arff", "labels": ["y", "half"]})


def table(rows: Rows) -> pa.Table:
    return pa.table({"x": X, "y": pa.array(rows), "half": HALF})


def parquet(folder: Path, rows: Rows) -> TaskSet:
    written(folder, {name: table(rows).column(name) for name in ("x", "y", "half")}, "a.parquet")
    return load(folder, parquet={"files": "a.parquet", "features": ["x"], "labels": ["y", "half"]})


def saved(folder: Path, rows: Rows) -> TaskSet:
    (folder / "set").mkdir()
    with pa.ipc.new_stream(str(folder / "set" / "a.arrow"), table(rows).schema) as writer:
        writer.write_table(table(rows))
    (folder / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "a.arrow"}]}))
    return load(folder, hugging_face={"folder": "set", "features": ["x"], "labels": ["y", "half"]})


def items(folder: Path, rows: Rows) -> TaskSet:
    cells = zip(X, rows, HALF.tolist(), strict=True)
    return TaskSet.from_dataset([(x, {"y": label, "half": half}) for x, label, half in cells])


SOURCES: dict[str, Callable[[Path, Rows], TaskSet]] = {
    "columns": lambda _, rows: TaskSet.from_arrays(X[:, None], {"y": rows, "half": HALF}),
    "Arrow": lambda _, rows: TaskSet.from_frame(table(rows), labels=["y", "half"]),
    "pandas": lambda _, rows: TaskSet.from_frame(pd.DataFrame({"x": X, "y": rows, "half": HALF}), labels=["y", "half"]),
    "a data set": items,
    "csv": csv,
    "arff": arff,
    "parquet": parquet,
    "saved": saved,
}


def understood(source: str, rows: Rows) -> tuple[Any, ...]:
    """The kind, classes and labels; or the question, up to what is named differently."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            task_set = SOURCES[source](Path(folder), rows)
        except InputError as error:
            return ("asked", str(error).partition(": ")[0].partition(" Set ")[0])
    task = task_set.tasks[0]
    labels = np.where(np.isnan(task_set.labels[:, 0].astype(float)), -1, task_set.labels[:, 0])
    return (task.kind, task.n_classes, task.classes, np.round(labels, 5).tolist())


VALUES = st.one_of(
    st.sampled_from([(0, 1), (-1, 1), (1, 2), (0, 1, 2), (0, 255), (3, 7, 9), (0, 1, -999), (0.5, 1.5, 2.25)]),
    st.sampled_from([("no", "yes"), ("red", "green", "blue"), ("True", "False"), ("a1", "b2", "c3", "d4")]),
)


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "columns"])
@settings(max_examples=25)
@given(values=VALUES, gaps=st.booleans(), seed=st.integers(0, 20))
def test_a_column_is_the_same_task_from_every_source(source: str, values: Any, gaps: bool, seed: int) -> None:
    drawn = np.random.default_rng(seed).integers(0, len(values), N)
    rows: Rows = [values[(i + drawn[i]) % len(values)] if i >= len(values) else values[i] for i in range(N)]
    rows = [None if gaps and i % 9 == 8 else label for i, label in enumerate(rows)]
    assert understood(source, rows) == understood("columns", rows)
