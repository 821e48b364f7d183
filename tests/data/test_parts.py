"""A task set laid out and read back is the same task set, a part at a time."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse

from stg_ray.artifacts.storage import Storage
from stg_ray.config.training import ModelConfig
from stg_ray.data.digits import digits
from stg_ray.data.parts import (
    BYTES_OF_A_SUM,
    MAX_PART_ROWS,
    MIN_PART_ROWS,
    MIN_PARTS,
    MOST_BYTES_OF_SUMS,
    PartIndex,
    index_of,
    part_sizes,
    read_index,
    read_part,
    read_split,
    write_parts,
)
from stg_ray.models import build_network
from stg_ray.tasks import SPLITS, TaskSet
from stg_ray.tasks.sparse_rows import MANY_COLUMNS, SparseRows


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


@given(n_rows=st.integers(1, 3_000_000), n_tasks=st.integers(1, 3000))
@example(n_rows=2_121_729, n_tasks=1)  # by rounding the rows of a part up there would be one part less
def test_parts_are_as_many_as_pay(n_rows: int, n_tasks: int) -> None:
    sizes = part_sizes(n_rows, n_tasks)
    assert sum(sizes) == n_rows
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= MAX_PART_ROWS
    if len(sizes) > MIN_PARTS:
        assert math.log2(len(sizes) / MIN_PARTS).is_integer()  # most numbers of workers share them evenly
        sums_are_few = len(sizes) * BYTES_OF_A_SUM * n_tasks**2 <= MOST_BYTES_OF_SUMS
        assert (min(sizes) >= MIN_PART_ROWS and sums_are_few) or n_rows > len(sizes) / 2 * MAX_PART_ROWS


def test_more_rows_have_more_parts_and_more_tasks_have_fewer() -> None:
    assert [len(part_sizes(n_rows, 100)) for n_rows in (1_000, 32_767, 32_768, 200_000)] == [16, 16, 32, 128]
    assert [len(part_sizes(1_000_000, n_tasks)) for n_tasks in (100, 300, 1_000)] == [512, 256, 128]


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


@pytest.mark.parametrize("is_sparse", [False, True])
def test_features_of_0_and_1_have_one_scale(tmp_path: Path, is_sparse: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = np.zeros((200, MANY_COLUMNS + 1 if is_sparse else 5), dtype=np.float32)  # fewer are made dense
    inputs[:, :5] = rng.random((200, 5)) < [0.5, 0.02, 0.2, 0.0, 0.9]
    task_set = TaskSet.from_arrays(sparse.csr_matrix(inputs) if is_sparse else inputs, rng.integers(2, size=(200, 3)))
    assert isinstance(task_set.inputs, SparseRows) == is_sparse
    index = write_parts(task_set, Storage(tmp_path / "auto"))
    own = inputs[task_set.rows("train")].std(axis=0)[[0, 1, 2, 4]]
    assert index.input_std[:5] == pytest.approx([*own[:3], 1.0, own[3]], rel=1e-4)
    common = np.sqrt(np.mean(np.square(own)))
    assert index.input_scale[:5] == pytest.approx([common, common, common, 1.0, common], rel=1e-4)
    assert read_index(Storage(tmp_path / "auto")) == index

    def seen(trunk: str, about: PartIndex) -> np.ndarray:
        network = build_network(ModelConfig(trunk=trunk, width=8, depth=1, dropout=0.0), about, about.tasks, 0)
        return np.asarray(network.normalize(torch.from_numpy(inputs)))

    mean = inputs[task_set.rows("train")].mean(axis=0)
    assert seen("mlp", index) == pytest.approx((inputs - mean) / index.input_scale, abs=1e-4)
    assert np.array_equal(seen("linear", index), inputs)
    standard = index_of(task_set, normalize="standard")
    assert standard.input_scale == standard.input_std
    assert seen("linear", standard) == pytest.approx((inputs - mean) / standard.input_std, abs=1e-4)
    before = PartIndex.from_dict({key: v for key, v in index.to_dict().items() if key != "common_std"})
    assert before.input_scale == index.input_std, "a run of an earlier version keeps its scales"


@pytest.mark.parametrize("odd", [2.0, 0.5, -1.0])
def test_another_number_makes_scales_of_their_own(odd: float) -> None:
    """In a training row; test rows have no say."""
    rng = np.random.default_rng(1)
    inputs = (rng.random((10_000, 3)) < 0.3).astype(np.float32)
    task_set = TaskSet.from_arrays(inputs, rng.integers(2, size=(10_000, 2)))
    np.asarray(task_set.inputs)[task_set.rows("test")[-1], 1] = odd
    assert index_of(task_set).common_std is not None
    np.asarray(task_set.inputs)[task_set.rows("train")[-1], 1] = odd
    index = index_of(task_set)
    assert index.common_std is None
    assert index.input_scale == index.input_std


def test_parts_are_mapped_not_copied(tmp_path: Path) -> None:
    write_parts(digits(tmp_path, 0), Storage(tmp_path))
    part = read_part(Storage(tmp_path), "train", 0)
    assert isinstance(part.inputs, np.ndarray)
    assert not part.inputs.flags.owndata
    assert not part.inputs.flags.writeable
