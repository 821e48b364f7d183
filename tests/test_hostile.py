"""Inputs that nobody should give: each is refused by one line that names it, in seconds, or is answered rightly."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import stg_ray as sr
from stg_ray.checks import check
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.planning.estimate import estimate
from stg_ray.progress import Reporter
from stg_ray.tasks import TaskSet

SECONDS = 10.0
"""Until the answer, on a loaded machine."""

N = 60
INPUTS = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2, np.arange(N) // 4 % 2], axis=1)


def answer(source: Any, overrides: list[str] | None = None) -> TaskSet:
    """What `stg-ray plan` does with a configuration until something is estimated."""
    config = load_config(source, overrides or [])
    task_set = load_task_set(config.data, config.seed)
    check(config, index_of(task_set, part_rows=config.data.rows_of_a_part, normalize=config.data.normalize))
    return task_set


def refused(work: Callable[[], object], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as raised:
        work()
    assert time.monotonic() - began < SECONDS
    assert "\n" not in str(raised.value)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez("tiny.npz", inputs=INPUTS, labels=LABELS)
    return tmp_path


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("retrain.seeds=1000000000000", "less than or equal to 1000"),
        ("retrain.random_groups=1000000000", "less than or equal to 1000"),
        ("retrain={seeds: 1000, random_groups: 1000}", "networks: expected at most 20,000"),
        ("retrain.epochs=10000000", "retrain.epochs=10000000: expected at most 1,000,000"),
        ("profile.epochs=1000000000000000", "profile.epochs is 1000000000000000"),
        ("model.width=3000000", r"model.width=3000000 and model.depth=2 .* take 134,111 GiB of memory"),
        ("model={trunk: linear, width: 100000000000}", "GiB of memory"),
        ("model.depth=100000000", "model.depth=100000000: expected at most 100 layers"),
        ("profile.batch_size=10000000000000", "profile.batch_size is 10000000000000"),
        ("data.limit=100000000000000000000000", "data.limit is 100000000000000000000000"),
        ("seed=18446744073709551616", "seed is 18446744073709551616"),
        ("data.npz=~no-such-user/tiny.npz", "there is no home folder of '~no-such-user'"),
        ("data={npz: absent.npz, root: ~no-such-user}", "there is no home folder of '~no-such-user'"),
        ("data={parquet: {files: '~no-such-user/*', features: a, labels: b}}", "there is no home folder"),
        ("data={images: {folder: ~no-such-user/x}}", "there is no home folder"),
        ("data.npz=loop", "no file 'loop'"),
        ("data.npz='" + "a" * 5000 + "'", "the data cannot be read: .*File name too long"),
        ('data.npz="a\\0b"', "data.npz holds null characters"),
        ('data.name="\\ud800"', "lone surrogates"),
        ("affinity={methods: [landscape], layers: [nothing]}", "'nothing' is no parameter or module of the trunk"),
        ("grouping.weights={landscape: .inf}", "finite"),
        ("model.trunk=..:x", "'..:x': expected module:function"),
        ("model.trunk=.x:y", "'.x:y': expected module:function"),
        ("model.trunk=sys:exit", "sys:exit was called with the shape of one input"),
        ("data.function=sys:exit", "exactly one"),
        ("seed=" + "9" * 5000, "not valid YAML"),
        ("seed=2020-99-99", "not valid YAML"),
        ("data={function: 'm:f', arguments: {a: {1: 2, b: 3}}}", "keys of a mapping must be all texts or all numbers"),
        ("data={function: 'm:f', arguments: {a: !!set {b, c}}}", "it holds a set"),
    ],
)
def test_settings(here: Path, setting: str, message: str) -> None:
    (here / "loop").symlink_to("loop")
    refused(lambda: answer({"data": {"npz": "tiny.npz"}}, [setting]), message)


@pytest.mark.parametrize(
    ("setting", "rows"), [("profile={snapshots: 1000000000, epochs: 6}", N), ("affinity.samples=1000000000000", N)]
)
def test_more_than_there_is_of_something_is_all_of_it(here: Path, setting: str, rows: int) -> None:
    assert len(answer({"data": {"npz": "tiny.npz"}}, [setting]).inputs) == rows


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"inputs": np.zeros((0, 5)), "labels": np.zeros((0, 3))}, r"inputs have the shape \(0, 5\)"),
        ({"inputs": np.zeros((N, 0)), "labels": LABELS}, r"inputs have the shape \(60, 0\)"),
        ({"inputs": np.zeros((N, 3, 0, 4)), "labels": LABELS}, "at least one row and one feature"),
        ({"inputs": INPUTS.astype(np.float64) * 1e300, "labels": LABELS}, "which float32 cannot hold"),
        ({"inputs": INPUTS, "labels": np.random.default_rng(0).normal(size=(N, 3)) * 1e300}, "beyond 3.4e"),
        ({"inputs": np.where(INPUTS > 2, np.nan, INPUTS), "labels": LABELS}, "NaN, masked or infinite values"),
        ({"inputs": INPUTS[:4], "labels": LABELS[:4]}, "there are 4 rows: expected at least 20"),
        ({"inputs": INPUTS, "labels": LABELS[:, :1]}, "there is 1 task"),
        ({"inputs": INPUTS, "labels": LABELS + 1j}, "cannot be read"),
    ],
)
def test_arrays(here: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez("strange.npz", **arrays)
    refused(lambda: answer({"data": {"npz": "strange.npz"}}), message)


@pytest.mark.parametrize("inputs", [np.ones((N, 5)), np.full((N, 3, 8, 8), 7, np.uint8)])
def test_constant_inputs(here: Path, inputs: np.ndarray) -> None:
    np.savez("strange.npz", inputs=inputs, labels=LABELS)
    source = {"data": {"npz": "strange.npz"}}
    quiet = Reporter(Console(quiet=True))
    refused(lambda: sr.run(source, "run", until="parts", reporter=quiet), "inputs are the same in all 60 rows")
    refused(lambda: estimate(load_config(source)), "inputs are the same in all 60 rows")


def test_huge_classes_are_numbered_by_the_values_that_occur(here: Path) -> None:
    np.savez("strange.npz", inputs=INPUTS, labels=np.where(LABELS == 1, 2**40, LABELS))
    task_set = answer({"data": {"npz": "strange.npz"}})
    assert np.array_equal(task_set.labels, LABELS)
    assert task_set.tasks[0].classes == (0, 2**40)


def test_classes_that_are_quantities_do_not_fill_the_memory(here: Path) -> None:
    n = 200_000
    inputs = np.random.default_rng(0).normal(size=(n, 1))
    labels = np.stack([np.arange(n), np.arange(n) % 2], axis=1)
    split = np.repeat(["train", "val", "test"], [n - 80_000, 40_000, 40_000])
    task_set = TaskSet.from_arrays(inputs, labels, kinds=["multiclass", "binary"], split=split)
    config = load_config({"data": {"npz": "tiny.npz"}})
    refused(lambda: check(config, index_of(task_set)), "200,001 outputs for 40,000 validation or test rows take")


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (
            "def load(): raise ValueError('mine')",
            {},
            r"hostile_\d+:load was called, and it raised ValueError: mine \(.*hostile_\d+.py, line 1, in load\)",
        ),
        ("def load(): raise KeyError", {}, "raised KeyError"),
        ("import sys\ndef load(): sys.exit(0)", {}, "raised SystemExit"),
        ("import sys\nsys.exit(0)", {}, "raised SystemExit"),
        ("class Mine(BaseException): pass\ndef load(): raise Mine", {}, "raised Mine"),
        ("def load(: pass", {}, r"cannot be imported: it raised SyntaxError: .* \(hostile_\d+.py, line 1\)"),
        ("import json\ndef load(): json.loads('{')", {}, r"JSONDecodeError: .* \(.*hostile_\d+.py, line 2, in load\)"),
        (
            "import no_such",
            {},
            r"ModuleNotFoundError: No module named 'no_such' \(.*hostile_\d+.py, line 1",
        ),
        ("def load(rows): pass", {}, r"load\(rows\) cannot be called: missing a required argument: 'rows'"),
        ("def load(): pass", {"rows": 3}, "got an unexpected keyword argument 'rows'"),
        ("def load(): pass", {}, "returned NoneType: expected a stg_ray.TaskSet"),
        ("async def load(): pass", {}, "returned coroutine"),
        ("load = 3", {}, "is int: expected a function"),
        (
            "import numpy as np, stg_ray as sr\ndef load():\n    x = np.full((60, 2), np.nan)\n"
            "    return sr.TaskSet.from_arrays(x, np.ones((60, 2)))",
            {},
            "inputs have NaN",
        ),
    ],
)
def test_functions(here: Path, code: str, arguments: dict[str, Any], message: str) -> None:
    module = f"hostile_{abs(hash((code, str(arguments))))}"
    (here / f"{module}.py").write_text(code + "\n")
    source = {"data": {"function": f"{module}:load", "arguments": arguments}}
    refused(lambda: answer(source), message)


def table(**columns: Any) -> pa.Table:
    y = {f"y{t}": LABELS[:, t] for t in range(3)}
    return pa.table({"x0": INPUTS[:, 0], "x1": INPUTS[:, 1], **y, **columns})


def test_a_column_is_an_input_or_a_label(here: Path) -> None:
    pq.write_table(table(), "a.parquet")
    parquet = {"files": "a.parquet", "features": ["x*", "y0"], "labels": ["y0", "y1", "y2"]}
    refused(lambda: answer({"data": {"parquet": parquet}}), "y0")
    named = answer({"data": {"parquet": parquet | {"labels": ["y*"]}}})
    assert named.names == ("1", "2"), "a name is stronger than a pattern"


def test_a_file_is_named_once(here: Path) -> None:
    pq.write_table(table(), "a.parquet")
    pq.write_table(table(), "copy.parquet")
    for files, message in (
        (["a.parquet", "a.*"], "names a.parquet twice: each of its rows would count twice, perhaps once in train"),
        ({"train": ["a.parquet", "a.*"]}, "names a.parquet twice: each of its rows would count twice, so name it once"),
        ({"train": "a.parquet", "test": "copy.parquet"}, "a copy of a.parquet: its rows would be in train and in test"),
        (["*.parquet"], "copy.parquet is a copy of a.parquet: each of its rows would count twice"),
    ):
        parquet = {"files": files, "features": ["x*"], "labels": ["y*"]}
        refused(lambda parquet=parquet: answer({"data": {"parquet": parquet}}), message)


@pytest.mark.parametrize("names", [b"no JSON", b"3", b'{"a": 1}'])
def test_names_of_classes_that_are_none(here: Path, names: bytes) -> None:
    classes = pa.table({"x": INPUTS[:, 0], "c": np.arange(N) % 3}).replace_schema_metadata({b"class_names": names})
    pq.write_table(classes, "a.parquet")
    parquet = {"files": "a.parquet", "features": ["x"], "classes": "c"}
    refused(lambda: answer({"data": {"parquet": parquet}}), "metadata 'class_names' of the table is no JSON list")


def test_deep_and_recursive_values(here: Path) -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    refused(lambda: answer({"data": {"function": "m:f", "arguments": {"a": deep}}}), "nested more than 50 deep")
    (here / "recursive.yaml").write_text("data: &a [*a]\n")
    refused(lambda: answer("recursive.yaml"), "contains itself")
