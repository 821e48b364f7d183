"""A task set laid out and read back is the same task set, a part at a time."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.artifacts.storage import Storage
from stg_ray.data.digits import digits
from stg_ray.data.parts import read_index, read_part, read_split, write_parts
from stg_ray.tasks import SPLITS, TaskSet


@given(
    n_rows=st.integers(20, 120),
    shape=st.sampled_from([(3,), (1, 4, 4), (3, 2, 5), (7, 2)]),
    dtype=st.sampled_from([np.uint8, np.float32]),
    part_rows=st.one_of(st.none(), st.integers(1, 50)),
    regression=st.booleans(),
    seed=st.integers(0, 100),
)
def test_every_sample_is_in_exactly_one_part(
    n_rows: int, shape: tuple[int, ...], dtype: type, part_rows: int | None, regression: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    inputs: np.ndarray = (rng.random((n_rows, *shape)) * 200).astype(dtype)
    labels: np.ndarray = np.stack([np.arange(n_rows) % 2, np.arange(n_rows) // 2 % 2], axis=1)
    if regression:
        labels = np.concatenate([labels, rng.normal(size=(n_rows, 1))], axis=1)
    task_set = TaskSet.from_arrays(inputs, labels, seed=seed)
    with TemporaryDirectory() as folder:
        storage = Storage(folder)
        index = write_parts(task_set, storage, part_rows=part_rows, seed=seed)
        assert read_index(storage) == index
        for split in SPLITS:
            seen = np.concatenate([read_part(storage, split, p).samples for p in range(index.n_parts(split))])
            assert np.array_equal(np.sort(seen), task_set.rows(split))
            whole = read_split(storage, index, split)
            assert whole.inputs.dtype == dtype
            assert np.array_equal(whole.inputs, task_set.inputs[whole.samples])
            assert np.array_equal(whole.labels, task_set.labels[whole.samples], equal_nan=True)
        rows = index.rows["train"]
        assert max(rows) - min(rows) <= 1


def test_normalisation_is_that_of_the_training_rows(tmp_path: Path) -> None:
    task_set = digits(tmp_path, 0)
    index = write_parts(task_set, Storage(tmp_path), seed=0)
    pixels = task_set.inputs[task_set.rows("train")].astype(np.float64)
    assert index.input_mean == pytest.approx([pixels.mean()])
    assert index.input_std == pytest.approx([pixels.std()])
    assert index.labels_per_sample == 15


def test_a_constant_feature_is_left_as_it_is(tmp_path: Path) -> None:
    inputs = np.stack([np.arange(40.0), np.full(40, 7.0)], axis=1)
    labels = np.stack([np.arange(40) % 2, np.arange(40) // 2 % 2], axis=1)
    index = write_parts(TaskSet.from_arrays(inputs, labels), Storage(tmp_path))
    assert index.input_std[1] == 1.0


def test_parts_are_mapped_not_copied(tmp_path: Path) -> None:
    write_parts(digits(tmp_path, 0), Storage(tmp_path))
    part = read_part(Storage(tmp_path), "train", 0)
    assert isinstance(part.inputs, np.ndarray)
    assert not part.inputs.flags.owndata
    assert not part.inputs.flags.writeable
