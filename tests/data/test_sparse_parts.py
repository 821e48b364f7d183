"""Sparse inputs stay sparse in their parts and become dense by batch: the numbers are those of the dense set."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

import stg_ray as sr
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config
from stg_ray.data import rows
from stg_ray.data.new_inputs import checked_inputs
from stg_ray.data.parts import read_index, read_part, read_split, write_parts
from stg_ray.data.rows import MappedInputs, TaskRows, as_inputs
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.progress import Reporter
from stg_ray.tasks import TaskSet
from stg_ray.tasks.sparse_rows import SparseRows

N, F = 120, 2000
MATRIX = scipy.sparse.random(N, F, 0.01, format="csr", random_state=0, dtype=np.float32)
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2, np.arange(N) // 3 % 2], axis=1)


@pytest.fixture
def both(tmp_path: Path) -> tuple[Storage, Storage]:
    storages = Storage(tmp_path / "sparse"), Storage(tmp_path / "dense")
    for storage, inputs in zip(storages, (MATRIX, MATRIX.toarray()), strict=True):
        write_parts(TaskSet.from_arrays(inputs, LABELS), storage)
    return storages


def test_parts_hold_the_same_rows(both: tuple[Storage, Storage]) -> None:
    sparse, dense = both
    indices = read_index(sparse), read_index(dense)
    assert indices[0].rows == indices[1].rows
    assert np.allclose(indices[0].input_mean, indices[1].input_mean)
    assert np.allclose(indices[0].input_std, indices[1].input_std)
    part, other = read_part(sparse, "train", 3), read_part(dense, "train", 3)
    assert isinstance(part.inputs, SparseRows)
    assert np.array_equal(part.inputs[:], other.inputs[:])
    assert np.array_equal(part.samples, other.samples)
    whole = read_split(sparse, indices[0], "train")
    assert np.array_equal(whole.inputs[:], read_split(dense, indices[1], "train").inputs[:])
    size = sum(file.stat().st_size for file in Path(sparse.root).glob("*.arrow"))
    assert size < sum(file.stat().st_size for file in Path(dense.root).glob("*.arrow")) / 10


def test_batches_are_the_same(both: tuple[Storage, Storage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "DENSE_BYTES", 4 * F * 7)
    sparse, dense = (TaskRows(storage, read_index(storage), "train", [1, 2]) for storage in both)
    chosen = torch.tensor([5, 0, 5, 71])
    assert torch.equal(sparse.inputs[chosen], dense.inputs[chosen])
    blocks = list(sparse.inputs.split(50))
    assert max(map(len, blocks)) == 7
    assert torch.equal(torch.cat(blocks), torch.cat(list(dense.inputs.split(50))))
    copied = as_inputs(read_split(both[0], read_index(both[0]), "val").inputs)
    assert torch.equal(
        torch.cat(list(copied.split(5))),
        next(iter(TaskRows(both[1], read_index(both[1]), "val", [0]).inputs.split(99))),
    )


def test_new_inputs_may_be_sparse(both: tuple[Storage, Storage]) -> None:
    index = read_index(both[0])
    found = checked_inputs(MATRIX, index, torch.float32)
    assert isinstance(found, MappedInputs)
    assert torch.equal(torch.cat(list(found.split(50))), torch.from_numpy(MATRIX.toarray()))
    assert len(checked_inputs(MATRIX[:0], index, torch.float32)) == 0
    with pytest.raises(InputError, match=r"have the shape \(120, 1999\): expected \(N, 2000\)"):
        checked_inputs(MATRIX[:, 1:], index, torch.float32)


def libsvm(folder: Path) -> dict[str, Any]:
    lines = []
    for row in range(N):
        cells = " ".join(f"{c + 1}:{v}" for c, v in zip(MATRIX[[row]].indices, MATRIX[[row]].data, strict=True))
        lines.append(f"{','.join(str(k) for k in range(3) if LABELS[row, k])} {cells} {F}:0")
    (folder / "mine.svm").write_text("\n".join(lines))
    return {"libsvm": {"files": "mine.svm"}}


def npy(folder: Path) -> dict[str, Any]:
    scipy.sparse.save_npz(folder / "x.npz", MATRIX)
    np.save(folder / "y.npy", LABELS)
    return {"npy": {"inputs": "x.npz", "labels": "y.npy"}}


def arff(folder: Path) -> dict[str, Any]:
    header = [f"@attribute x{c} numeric" for c in range(F)] + [f"@attribute 'y {k}' {{0,1}}" for k in range(3)]
    rows = []
    for row in range(N):
        cells = [f"{c} {v}" for c, v in zip(MATRIX[[row]].indices, MATRIX[[row]].data, strict=True)]
        rows.append("{" + ", ".join(cells + [f"{F + k} 1" for k in range(3) if LABELS[row, k]]) + "}")
    (folder / "mine.arff").write_text("\n".join(["@relation mine", *header, "@data", *rows]))
    return {"arff": {"files": "mine.arff", "labels": ["y *"]}}


@pytest.mark.parametrize("write", [libsvm, npy, arff])
def test_files_of_sparse_inputs_stay_sparse(tmp_path: Path, write: Any) -> None:
    config = load_config({"data": {**write(tmp_path), "root": str(tmp_path)}})
    task_set = load_task_set(config.data, seed=0)
    assert isinstance(task_set.inputs, SparseRows)
    assert np.allclose(task_set.inputs[:], MATRIX.toarray())
    assert np.array_equal(task_set.labels, LABELS)


@pytest.mark.parametrize("value", ["?", "1e300", "nan"])
def test_a_cell_without_a_number_is_named(tmp_path: Path, value: str) -> None:
    data = arff(tmp_path)
    text = (tmp_path / "mine.arff").read_text()
    head, _, rows = text.partition("@data\n")
    lines = rows.splitlines()
    lines[7] = "{" + f"3 {value}, {F} 1" + "}"
    (tmp_path / "mine.arff").write_text(head + "@data\n" + "\n".join(lines))
    message = "'x3' is missing, infinite or beyond float32 in row 7 of .*mine.arff, and 0 others are"
    with pytest.raises(InputError, match=message):
        load_task_set(load_config({"data": {**data, "root": str(tmp_path)}}).data, seed=0)


def filled(folder: Path) -> dict[str, Any]:
    np.savez(
        folder / "filled.npz", inputs=np.ones((N, F), np.uint8) + MATRIX.toarray().round().astype(int), labels=LABELS
    )
    return {"npz": "filled.npz"}


def empty(folder: Path) -> dict[str, Any]:
    np.savez(folder / "empty.npz", inputs=(MATRIX.toarray() * 9).astype(np.uint8), labels=LABELS)
    return {"npz": "empty.npz"}


@pytest.mark.filterwarnings("ignore:the features of the joined set")
@pytest.mark.parametrize(
    ("writers", "stays"),
    [
        ([npy, npy], True),
        ([arff, libsvm, npy], True),
        ([arff, empty], True),
        ([empty, npy], True),
        ([npy, filled], False),
    ],
    ids=["two", "three formats", "mostly 0 at the end", "mostly 0 at the start", "one is filled"],
)
def test_joined_sets_stay_sparse_if_they_are_on_the_whole(tmp_path: Path, writers: list[Any], stays: bool) -> None:
    parts = [{**write(tmp_path), "name": f"set {number}"} for number, write in enumerate(writers)]
    task_set = load_task_set(load_config({"data": {"join": parts, "root": str(tmp_path)}}).data, seed=0)
    assert isinstance(task_set.inputs, SparseRows) == stays
    alone = [load_task_set(load_config({"data": {**part, "root": str(tmp_path)}}).data, seed=0) for part in parts]
    assert np.array_equal(task_set.inputs[:], np.concatenate([own.inputs[:] for own in alone]))
    assert [len(task_set.rows("test"))] == [sum(len(own.rows("test")) for own in alone)]


def test_a_hundred_thousand_columns_take_little_memory(tmp_path: Path) -> None:
    """An array of these rows would have 1.6 GB."""
    n_columns, rng = 100_000, np.random.default_rng(0)
    with (tmp_path / "wide.arff").open("w") as file:
        file.write("@relation wide\n")
        file.writelines(f"@attribute x{c} numeric\n" for c in range(n_columns))
        file.write("@attribute y_a {0,1}\n@attribute y_b {0,1}\n@data\n")
        for row in range(2000):
            cells = [f"{c} 1" for c in np.unique(rng.integers(0, n_columns, 20))]
            labels = [f"{n_columns + k} 1" for k in range(2) if row >> k & 1]
            file.write("{" + ",".join(cells + labels) + "}\n")
    part = {"arff": {"files": "wide.arff", "labels": ["y_*"]}}
    config = load_config({"data": {"join": [part, {**part, "name": "again"}], "root": str(tmp_path)}})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task_set = load_task_set(config.data, seed=0)
    write_parts(task_set, Storage(tmp_path / "parts"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert task_set.inputs.shape == (4000, n_columns)
    assert grown < 400, "MiB"


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_the_whole_path_on_sparse_inputs(tmp_path: Path, quiet: Reporter) -> None:
    settings = {
        "profile": {"epochs": 1},
        "affinity": {"methods": ["landscape", "logit_correlation", "tag"], "samples": 32},
        "grouping": {"groups": 2},
        "retrain": {"epochs": 1, "plans": ["ours"]},
        "model": {"width": 8},
    }
    run = sr.run(TaskSet.from_arrays(MATRIX, LABELS), tmp_path / "run", settings=settings, reporter=quiet)
    predictor = run.predictor()
    of_sparse, of_dense = (predictor.predict(inputs).array for inputs in (MATRIX, MATRIX.toarray()))
    assert np.allclose(of_sparse, of_dense, atol=1e-6)
