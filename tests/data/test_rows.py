"""Mapped rows are the rows that a copy of the split has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.artifacts.storage import Storage, tensor_array, tensor_column
from stg_ray.data import rows
from stg_ray.data.parts import part_name, read_index, read_split, write_parts
from stg_ray.data.rows import TaskRows, on_this_node
from stg_ray.tasks import TaskSet, observed
from stg_ray.training.evaluation import taken
from tests.support.object_store import ObjectStore


@pytest.mark.parametrize("missing", [0.0, 0.6])
@pytest.mark.parametrize("part_rows", [None, 7, 1000])
@pytest.mark.parametrize("in_memory", [0, rows.BYTES_IN_MEMORY])
def test_rows_are_those_of_the_split(
    missing: float,
    part_rows: int | None,
    in_memory: int,
    make_task_set: Callable[..., TaskSet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "BYTES_IN_MEMORY", in_memory)
    storage = Storage(tmp_path)
    write_parts(make_task_set(missing=missing), storage, part_rows=part_rows)
    index = read_index(storage)
    columns = [4, 1]
    whole = read_split(storage, index, "train")
    kept = observed(whole.labels[:, columns]).any(axis=1)
    mapped = TaskRows(storage, index, "train", columns)
    assert len(mapped) == len(mapped.inputs) == kept.sum()
    assert np.array_equal(mapped.samples, whole.samples[kept])
    assert np.array_equal(mapped.labels, whole.labels[kept][:, columns])
    expected = torch.from_numpy(whole.inputs[kept])
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(mapped))[:50])
    assert torch.equal(mapped.inputs[chosen], expected[chosen])
    assert torch.equal(taken(mapped.inputs, chosen), taken(expected, chosen))
    assert len(mapped.inputs.arrays) == (1 if in_memory else index.n_parts("train"))
    blocks = list(mapped.inputs.split(33))
    assert [len(block) for block in blocks[:-1]] == [33] * (len(blocks) - 1)
    assert torch.equal(torch.cat(blocks), expected)


@pytest.mark.parametrize("part_rows", [None, 7])
def test_every_fold_has_validation_rows_of_its_own(
    part_rows: int | None, make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    storage, task_set = Storage(tmp_path), make_task_set(missing=0.3)
    write_parts(task_set, storage, part_rows=part_rows)
    index = read_index(storage)
    n_val, columns = index.n_samples("val"), range(len(task_set.tasks))
    both = np.sort(np.concatenate([read_split(storage, index, split).samples for split in ("train", "val")]))
    seen: list[np.ndarray] = []
    for fold in range(4):
        of_split = {split: TaskRows(storage, index, split, columns, fold) for split in ("train", "val", "test")}
        validated, trained = (of_split[split].samples for split in ("val", "train"))
        labelled = observed(task_set.labels[both]).any(axis=1)
        assert np.array_equal(np.sort(np.concatenate([validated, trained])), both[labelled]), "each row is one of both"
        assert len(validated) <= n_val
        assert not np.intersect1d(validated, np.concatenate([*seen, [-1]])).size
        seen.append(validated)
        for own in of_split.values():
            assert np.array_equal(own.labels, task_set.labels[own.samples])
            assert torch.equal(own.inputs[slice(None)], torch.from_numpy(task_set.inputs[own.samples]))
        assert np.array_equal(of_split["test"].samples, TaskRows(storage, index, "test", columns).samples)


def test_parts_of_an_object_store_come_to_the_node_once(
    make_task_set: Callable[..., TaskSet], object_store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = Storage(object_store.uri("rows"))
    write_parts(make_task_set(), store)
    index = read_index(store)
    old = on_this_node(store, index, "val")
    assert old.is_local
    assert old.root.startswith(str(tmp_path))
    assert Path(old.root).parent.stat().st_mode & 0o077 == 0, "nobody else reads it"
    before = {file: file.stat().st_mtime_ns for file in Path(old.root).iterdir()}
    first = TaskRows(store, index, "val", [0])
    assert {file: file.stat().st_mtime_ns for file in Path(old.root).iterdir()} == before
    time.sleep(1.1)  # stores tell seconds
    name = f"{part_name('val', 0)}.arrow"
    part = store.read_arrow(name)
    flipped = 1 - tensor_array(part.column("labels"))
    store.write_arrow(name, part.set_column(2, "labels", tensor_column(flipped)))
    again = TaskRows(store, index, "val", [0])
    assert not np.array_equal(first.labels, again.labels), "another set at the same place, with the same index"
    os.utime(old.root, (0, 0))
    on_this_node(store, index, "val")
    assert not Path(old.root).exists(), "copies that nobody uses are deleted"
