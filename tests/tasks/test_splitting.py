"""Splits: every kind of rows is needed, and `data.split: stratified` replaces any split that came with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet
from stg_ray.tasks.splitting import check_split

N = 60
INPUTS = np.random.default_rng(0).normal(size=(N, 3))
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)


def load(folder: Path, data: dict[str, Any]) -> TaskSet:
    return load_task_set(load_config({"data": {"root": str(folder), **data}}).data, seed=0)


def sizes(task_set: TaskSet) -> dict[str, int]:
    return {split: len(task_set.rows(split)) for split in SPLITS}


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([0] * 4 + [2] * 6, r"no 'val' row \(4 train, 0 val, 6 test\), and they decide when a training has learned"),
        ([0] * 4 + [1] * 6, r"no 'test' row \(4 train, 6 val, 0 test\), and they measure the networks"),
        ([2] * 4 + [1] * 6, r"no 'train' row \(0 train, 6 val, 4 test\), and networks learn from them"),
        ([-1] * 9, r"no 'train' row \(0 train, 0 val, 0 test\).*data.split=stratified"),
        ([0, 1, 2, -1], None),
    ],
)
def test_every_kind_of_rows_is_needed(codes: list[int], message: str | None) -> None:
    if message is None:
        check_split(np.array(codes, np.int8))
        return
    with pytest.raises(InputError, match=message):
        check_split(np.array(codes, np.int8))


@pytest.mark.parametrize("per_class", [2, 3, 4, 5])
@pytest.mark.parametrize("n_classes", [20, 47])
@pytest.mark.parametrize("given", [True, False])
def test_rare_classes_leave_no_split_empty(per_class: int, n_classes: int, given: bool) -> None:
    """A tenth of a few rows of each class is none; of all rows together it is not."""
    classes = np.repeat(np.arange(n_classes), 2 * per_class)
    labels = (classes[:, None] == np.arange(n_classes)).astype(int)
    split = np.tile(["train", "test"], len(classes) // 2) if given else None
    inputs = np.random.default_rng(0).normal(size=(len(classes), 2))
    task_set = TaskSet.from_arrays(inputs, labels, split=split)
    check_split(task_set.split)
    if given:
        assert sizes(task_set)["val"] >= min(0.05 * len(classes), per_class * n_classes - n_classes) - 2
    train = task_set.labels[task_set.rows("train")]
    assert (train.sum(axis=0) > 0).all(), "every class can be learned"


FEW: dict[str, tuple[list[str], str]] = {
    "four training rows": (["train"] * 4 + ["test"] * (N - 4), "there is no 'val' row"),
    "no test row": (["train"] * 50 + ["val"] * 10, "split has no 'test' row"),
    "no training row": (["test"] * N, "split has no 'train' row"),
    "other names": (["fold 1"] * 30 + ["fold 2"] * 30, "split has the unknown entry 'fold 1'"),
}


def npz(folder: Path, split: list[str]) -> dict[str, Any]:
    np.savez(folder / "a.npz", inputs=INPUTS, labels=LABELS, split=np.array(split))
    return {"npz": "a.npz"}


def csv(folder: Path, split: list[str]) -> dict[str, Any]:
    rows = [f"{x[0]},{y[0]},{y[1]},{s}" for x, y, s in zip(INPUTS, LABELS, split, strict=True)]
    (folder / "a.csv").write_text("\n".join(["x,y_a,y_b,part", *rows]))
    return {"csv": {"files": "a.csv", "features": ["x"], "labels": ["y_*"], "split": "part"}}


@pytest.mark.parametrize("write", [npz, csv])
@pytest.mark.parametrize("case", FEW)
def test_a_split_that_lacks_rows_is_refused_and_may_be_made_anew(tmp_path: Path, case: str, write: Any) -> None:
    split, message = FEW[case]
    data = write(tmp_path, split)
    with pytest.raises(InputError, match=message):
        load(tmp_path, data)
    assert sizes(load(tmp_path, {**data, "split": "stratified"})) == {"train": 42, "val": 6, "test": 12}


def test_folders_of_splits_may_be_made_anew(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(15):
                pixels = np.full((4, 4), 16 * i + number + 2 * (split == "val"), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "set" / split / name / f"{i}.png")
    data = {"images": {"folder": "set"}}
    with pytest.raises(InputError, match="but no test"):
        load(tmp_path, data)
    assert sizes(load(tmp_path, {**data, "split": "stratified"})) == {"train": 42, "val": 6, "test": 12}


def test_a_set_made_in_python_is_checked_too() -> None:
    codes = np.array([0] * 40 + [2] * 20, np.int8)
    whole = TaskSet.from_arrays(INPUTS, LABELS)
    given = TaskSet(whole.inputs, whole.labels, whole.tasks, codes)
    config = load_config({"data": {"task_set": given.digest}})
    with pytest.raises(InputError, match="there is no 'val' row"):
        load_task_set(config.data, 0, given)
