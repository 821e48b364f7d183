"""A run's data maps as one array, read a part at a time, and as a pyarrow dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import stg_ray as sr
from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import part_name, read_part, write_parts


@pytest.fixture
def run(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> tuple[str, np.ndarray]:
    """Parts and two snapshots with a value of their own at every place, indexed by sample."""
    storage = Storage(tmp_path)
    index = write_parts(make_task_set(n_samples=200), storage.sub("parts"), part_rows=17)
    values = np.random.default_rng(0).random((200, len(index.tasks), 2)).astype(np.float32)
    for epoch in (2, 4):
        for number in range(index.n_parts()):
            samples = read_part(storage.sub("parts"), "train", number).samples
            own = values[samples] / epoch
            m2 = np.square(own[..., 1]) * (epoch - 1)
            state = sr.DataMapState(np.full(len(samples), epoch, np.int32), np.ascontiguousarray(own[..., 0]), m2)
            storage.write_arrow(
                f"profile/data_map/epoch-{epoch:04d}/{part_name('train', number)}.arrow", state.to_batch(samples)
            )
    return str(tmp_path), values


def test_any_rows_of_any_snapshot(run: tuple[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, values = run
    data_map = sr.DataMap(folder)
    assert data_map.epochs == [2, 4]
    assert data_map.shape == (len(data_map), 6, 2)
    expected = values[data_map.samples] / 4
    np.testing.assert_allclose(np.asarray(data_map), expected, rtol=1e-6)
    np.testing.assert_allclose(sr.DataMap(folder, epoch=2)[:], values[data_map.samples] / 2, rtol=1e-6)
    rows = np.array([99, 3, 3, 57])
    np.testing.assert_allclose(data_map[rows], expected[rows], rtol=1e-6)
    np.testing.assert_allclose(data_map[5], expected[5], rtol=1e-6)
    read: list[int] = []

    def noted(part: int) -> pa.RecordBatch:
        read.append(part)
        return sr.DataMap._batch(data_map, part)

    monkeypatch.setattr(data_map, "_batch", noted)
    np.testing.assert_allclose(data_map[20:22], expected[20:22], rtol=1e-6)
    assert read == [1], "no part is read that has none of the rows"


def test_as_a_dataset(run: tuple[str, np.ndarray]) -> None:
    folder, _ = run
    dataset = sr.DataMap(folder).dataset()
    assert dataset.count_rows() == len(sr.DataMap(folder))
    table = dataset.to_table(columns=["sample", "count"])
    assert set(table.column("count").to_pylist()) == {4}


def test_how_it_is_shown(run: tuple[str, np.ndarray]) -> None:
    folder, _ = run
    assert repr(sr.DataMap(folder, epoch=2)) == f"DataMap({folder!r}, epoch 2 of [2, 4], 140 samples, 6 tasks)"


def test_a_snapshot_that_is_not_there(run: tuple[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(sr.InputError, match="no data map of epoch 3: there are 2, 4"):
        sr.DataMap(run[0], epoch=3)
    with pytest.raises(sr.InputError, match="has no data map: finish its profile first"):
        sr.DataMap(str(tmp_path / "empty"))


def test_distances_from_arrays() -> None:
    confidences = np.random.default_rng(0).random((3, 50, 4)).astype(np.float32)
    state = sr.DataMapState.empty(50, 4)
    for visit in confidences:
        state = state.merge(sr.DataMapState.of_visit(visit))
    points = np.concatenate([confidences.mean(axis=0), confidences.std(axis=0, ddof=1)])
    expected = np.sqrt(np.square(points[:, :, None] - points[:, None, :]).sum(axis=0) / 50)
    found = sr.data_map_distance([state], ["a", "b", "c", "d"])
    assert found.tasks == ("a", "b", "c", "d")
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-6)
