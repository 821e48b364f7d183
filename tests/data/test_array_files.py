"""Arrays in files: .npz, .npy and sparse matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

N = 60
INPUTS = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
INPUTS[INPUTS < 0] = 0
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)


def load(data: dict[str, Any], root: Path) -> TaskSet:
    return load_task_set(load_config({"data": {**data, "root": str(root)}}).data, seed=0)


@pytest.mark.parametrize("inputs", ["x.npy", "sparse.npz", "one.npz"])
@pytest.mark.parametrize("labels", ["y.npy", "sparse_y.npz", "bool_y.npz"])
def test_a_file_of_inputs_and_one_of_labels(tmp_path: Path, inputs: str, labels: str) -> None:
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "y.npy", LABELS)
    np.savez(tmp_path / "one.npz", INPUTS)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csc_matrix(INPUTS))
    scipy.sparse.save_npz(tmp_path / "sparse_y.npz", scipy.sparse.csr_matrix(LABELS))
    scipy.sparse.save_npz(tmp_path / "bool_y.npz", scipy.sparse.coo_array(LABELS.astype(bool)))
    task_set = load({"npy": {"inputs": inputs, "labels": labels, "names": ["a", "b"]}}, tmp_path)
    assert task_set.names == ("a", "b")
    assert np.array_equal(task_set.inputs, INPUTS)
    assert np.array_equal(task_set.labels, LABELS)


def test_large_numbers_in_a_sparse_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", LABELS)
    for matrix in (np.arange(2 * N).reshape(N, 2) * 2**40, (INPUTS * 255).astype(np.uint8)):
        scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(matrix))
        task_set = load({"npy": {"inputs": "x.npz", "labels": "y.npy"}}, tmp_path)
        assert np.array_equal(task_set.inputs, matrix.astype(task_set.inputs.dtype))
        assert (task_set.inputs.dtype == np.uint8) == (matrix.dtype == np.uint8)
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(INPUTS * 1j))
    with pytest.raises(InputError, match="a sparse matrix of complex64 cannot be used"):
        load({"npy": {"inputs": "x.npz", "labels": "y.npy"}}, tmp_path)


def test_a_file_of_splits(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "y.npy", LABELS)
    np.save(tmp_path / "s.npy", np.repeat(["train", "val", "test"], 20))
    task_set = load({"npy": {"inputs": "x.npy", "labels": "y.npy", "split": "s.npy"}}, tmp_path)
    assert task_set.rows("test").tolist() == list(range(40, 60))


def test_kinds_and_groups_that_are_not_given_for_some(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "mine.npz", inputs=INPUTS, labels=LABELS, kinds=np.array(["", "multiclass"]), groups=["None", "g"]
    )
    task_set = load({"npz": "mine.npz"}, tmp_path)
    assert [(task.kind, task.group) for task in task_set.tasks] == [("binary", None), ("multiclass", "g")]


def test_arrays_of_objects_are_no_reason_to_load_pickles(tmp_path: Path) -> None:
    ragged = np.empty(N, object)
    ragged[:] = [[0] * (row % 3) for row in range(N)]
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, labels=ragged)
    np.save(tmp_path / "y.npy", ragged, allow_pickle=True)
    np.save(tmp_path / "x.npy", INPUTS)
    for data, message in (
        ({"npz": "mine.npz"}, "its array 'labels' holds Python objects .*save it as numbers, with NaN or -1"),
        ({"npy": {"inputs": "x.npy", "labels": "y.npy"}}, "y.npy holds Python objects .*save it as numbers"),
    ):
        with pytest.raises(InputError, match=message) as raised:
            load(data, tmp_path)
        assert "allow_pickle" not in str(raised.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"npz": "huge.npz"}, r"inputs have 1.79769e\+308 in row 3, which float32 cannot hold"),
        ({"npz": "sparse.npz"}, "is one sparse matrix: give the files of inputs and labels as data.npy.inputs"),
        ({"npz": "x.npy"}, "x.npy cannot be read as arrays: it holds a NumPy array .*use data.npy"),
        ({"npy": {"inputs": "both.npz", "labels": "y.npy"}}, "holds inputs, labels: expected one array .*data.npz"),
        ({"npy": {"inputs": "x.npy", "labels": "flat.npy"}}, r"flat.npy has the shape \(60,\): expected \(N, K\)"),
        ({"npy": {"inputs": "x.npy", "labels": "short.npy"}}, r"\(60, 4\) and labels \(59, 2\)"),
        ({"npy": {"inputs": "cut.npy", "labels": "y.npy"}}, "cut.npy is damaged or cannot|cannot be read"),
        ({"npy": {"inputs": "cut.npz", "labels": "y.npy"}}, "cut.npz"),
    ],
)
def test_what_is_refused(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "y.npy", LABELS)
    huge = np.where(np.arange(4 * N).reshape(N, 4) == 14, np.finfo(np.float64).max, INPUTS)
    np.savez(tmp_path / "huge.npz", inputs=huge, labels=LABELS)
    np.save(tmp_path / "flat.npy", LABELS[:, 0])
    np.save(tmp_path / "short.npy", LABELS[1:])
    np.savez(tmp_path / "both.npz", inputs=INPUTS, labels=LABELS)
    scipy.sparse.save_npz(tmp_path / "sparse.npz", scipy.sparse.csr_matrix(INPUTS))
    for name, whole in (("cut.npy", "x.npy"), ("cut.npz", "sparse.npz")):
        content = (tmp_path / whole).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=message) as raised:
        load(data, tmp_path)
    assert "\n" not in str(raised.value)
