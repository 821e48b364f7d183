"""Mapped rows are the rows that a copy of the split has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import read_index, read_split, write_parts
from stg_ray.data.rows import TaskRows, on_this_node
from stg_ray.tasks import TaskSet, observed


@pytest.mark.parametrize("missing", [0.0, 0.6])
@pytest.mark.parametrize("part_rows", [None, 7, 1000])
def test_rows_are_those_of_the_split(
    missing: float, part_rows: int | None, make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    storage = Storage(tmp_path)
    write_parts(make_task_set(missing=missing), storage, part_rows=part_rows)
    index = read_index(storage)
    columns = [4, 1]
    whole = read_split(storage, index, "train")
    kept = observed(whole.labels[:, columns]).any(axis=1)
    rows = TaskRows(storage, index, "train", columns)
    assert len(rows) == len(rows.inputs) == kept.sum()
    assert np.array_equal(rows.samples, whole.samples[kept])
    assert np.array_equal(rows.labels, whole.labels[kept][:, columns])
    expected = torch.from_numpy(whole.inputs[kept])
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(len(rows))[:50])
    assert torch.equal(rows.inputs[chosen], expected[chosen])
    blocks = list(rows.inputs.split(33))
    assert [len(block) for block in blocks[:-1]] == [33] * (len(blocks) - 1)
    assert torch.equal(torch.cat(blocks), expected)


def test_parts_of_an_object_store_come_to_the_node_once(
    make_task_set: Callable[..., TaskSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is a folder that says it is none: there is no object store to test with."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    store = Storage(tmp_path / "store")
    write_parts(make_task_set(), store)
    store.is_local = False
    index = read_index(store)
    local = on_this_node(store, index, "val")
    assert local.is_local
    assert local.root.startswith(str(tmp_path / "node"))
    first = TaskRows(store, index, "val", [0])
    for number in range(index.n_parts("val")):
        store.delete(f"val-{number:05d}.arrow")
    again = TaskRows(store, index, "val", [0])
    assert torch.equal(next(iter(first.inputs.split(100))), next(iter(again.inputs.split(100))))
