"""`data.tasks` and its twins in Python hold for every source, by the names of tasks or of their columns."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from tests.support.tables import written

N = 48
ROWS = np.arange(N)
X = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
LABELS = np.stack([ROWS % 4, (ROWS + 1) % 4], axis=1)
SETTINGS: dict[str, Any] = {"y_a": {"kind": "regression"}, "y_*": {"kind": "multiclass", "missing": [3]}}
COLUMNS = {"features": ["x"], "labels": ["y_a", "y_b"]}
BY_PATTERN = {"features": ["x"], "labels": ["y_*"]}


def table() -> pa.Table:
    return pa.table({"x": X[:, 0], "y_a": LABELS[:, 0], "y_b": LABELS[:, 1]})


def lines() -> list[str]:
    return [f"{x},{a},{b}" for x, (a, b) in zip(X[:, 0], LABELS, strict=True)]


def csv(folder: Path) -> dict[str, Any]:
    (folder / "a.csv").write_text("\n".join(["x,y_a,y_b", *lines()]))
    return {"csv": {"files": "a.csv", **BY_PATTERN}}


def parquet(folder: Path) -> dict[str, Any]:
    written(folder, {name: table().column(name) for name in table().column_names}, "a.parquet")
    return {"parquet": {"files": "a.parquet", **BY_PATTERN}}


def arff(folder: Path) -> dict[str, Any]:
    header = ["@relation m", "@attribute x numeric", "@attribute y_a numeric", "@attribute y_b {0,1,2,3}", "@data"]
    (folder / "a.arff").write_text("\n".join([*header, *lines()]))
    return {"arff": {"files": "a.arff", "labels": ["y_*"]}}


def npz(folder: Path) -> dict[str, Any]:
    np.savez(folder / "a.npz", inputs=X, labels=LABELS, names=np.array(["y_a", "y_b"]))
    return {"npz": "a.npz"}


def npy(folder: Path) -> dict[str, Any]:
    np.save(folder / "x.npy", X)
    np.save(folder / "y.npy", LABELS)
    return {"npy": {"inputs": "x.npy", "labels": "y.npy", "names": ["y_a", "y_b"]}}


def saved(folder: Path) -> dict[str, Any]:
    (folder / "set").mkdir()
    with pa.ipc.new_stream(str(folder / "set" / "data.arrow"), table().schema) as writer:
        writer.write_table(table())
    (folder / "set" / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data.arrow"}]}))
    return {"hugging_face": {"folder": "set", **COLUMNS}}


def by_name(folder: Path) -> dict[str, Any]:
    datasets = pytest.importorskip("datasets", reason="needs pip install 'stg_ray[hf]'")
    datasets.disable_progress_bars()
    (folder / "files").mkdir()
    (folder / "files" / "train.csv").write_text("\n".join(["x,y_a,y_b", *lines()]))
    return {"hugging_face": {"name": "files", **BY_PATTERN}}


def function(folder: Path) -> dict[str, Any]:
    npz(folder)
    (folder / "settings_function.py").write_text(
        "import numpy as np, stg_ray as sr\n\n\ndef load(file):\n    arrays = np.load(file)\n"
        "    return sr.TaskSet.from_arrays(arrays['inputs'], arrays['labels'], names=['y_a', 'y_b'])\n"
    )
    return {"function": "settings_function:load", "arguments": {"file": str(folder / "a.npz")}}


SOURCES: list[Callable[[Path], dict[str, Any]]] = [csv, parquet, arff, npz, npy, saved, by_name, function]
OPTIONS: dict[str, Any] = {"kinds": {"y_a": "regression", "y_*": "multiclass"}, "missing": {"y_*": [3]}}
PYTHON: dict[str, Callable[[], TaskSet]] = {
    "arrays": lambda: TaskSet.from_arrays(X, LABELS, names=["y_a", "y_b"], **OPTIONS),
    "columns": lambda: TaskSet.from_arrays(X, {"y_a": LABELS[:, 0], "y_b": LABELS[:, 1].tolist()}, **OPTIONS),
    "pandas": lambda: TaskSet.from_frame(table().to_pandas(), labels="y_*", **OPTIONS),
    "Arrow": lambda: TaskSet.from_frame(table(), labels="y_*", **OPTIONS),
    "text": lambda: TaskSet.from_arrays(X, pd.DataFrame(LABELS.astype(str), columns=["y_a", "y_b"]), **OPTIONS),
    "a data set": lambda: TaskSet.from_dataset(
        [(x, {"y_a": int(a), "y_b": int(b)}) for x, (a, b) in zip(X, LABELS, strict=True)], **OPTIONS
    ),
}


def check(task_set: TaskSet) -> None:
    assert [task.kind for task in task_set.tasks] == ["regression", "multiclass"]
    assert np.array_equal(np.isnan(task_set.labels[:, 1]), LABELS[:, 1] == 3)
    assert np.array_equal(task_set.labels[LABELS[:, 1] != 3, 1], LABELS[LABELS[:, 1] != 3, 1])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    if importlib.util.find_spec("datasets") is not None:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


@pytest.mark.parametrize("source", SOURCES)
def test_kinds_and_marks_of_every_source(source: Callable[[Path], dict[str, Any]], here: Path) -> None:
    data = {**source(here), "root": str(here)}
    settings = {**SETTINGS, "y_a": {"kind": "regression", "missing": [3]}}
    task_set = load_task_set(load_config({"data": {**data, "tasks": settings}}).data, seed=0)
    check(task_set)
    joined = [{**data, "tasks": settings, "name": "a"}, {**data, "name": "b"}]
    kinds = [task.kind for task in load_task_set(load_config({"data": joined}).data, seed=0).tasks]
    assert kinds == ["regression", "multiclass", "multiclass", "multiclass"]
    with pytest.raises(InputError, match=r"data.tasks: unknown task 'z_\*'"):
        load_task_set(load_config({"data": {**data, "tasks": {"z_*": {"kind": "binary"}}}}).data, seed=0)


@pytest.mark.parametrize("way", PYTHON)
def test_kinds_and_marks_in_python(way: str) -> None:
    check(PYTHON[way]())


def test_a_task_may_be_named_by_its_column(here: Path) -> None:
    """Of the columns `y_*` the tasks are a and b; the name of a task goes before that of a column."""
    data = {**csv(here), "root": str(here)}
    for settings, kinds in (
        ({"y_a": {"kind": "regression"}}, ["regression", "multiclass"]),
        ({"a": {"kind": "regression"}}, ["regression", "multiclass"]),
        ({"y_*": {"kind": "regression"}, "b": {"kind": "multiclass"}}, ["regression", "multiclass"]),
        ({"*": {"kind": "regression"}}, ["regression", "regression"]),
    ):
        task_set = load_task_set(load_config({"data": {**data, "tasks": settings}}).data, seed=0)
        assert task_set.names == ("a", "b")
        assert [task.kind for task in task_set.tasks] == kinds, settings
