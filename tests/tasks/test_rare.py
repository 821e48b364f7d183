"""Tasks with too few labels in a split are refused, dropped, or trained and not scored: by name and count."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet
from stg_ray.tasks.about import about
from stg_ray.tasks.rare import first_names, minorities
from stg_ray.training.metrics import primary_score, score

N = 200
SPLIT = np.array(["train", "val", "test"])[np.repeat([0, 1, 2], [140, 20, 40])]
HALF = np.arange(N) % 2


def positives(train: int, test: int) -> np.ndarray:
    """Labels with so many positives in the training rows and in the test rows."""
    column = np.zeros(N, int)
    column[:train] = 1
    column[160 : 160 + test] = 1
    return column


@pytest.fixture
def task_set() -> TaskSet:
    columns: dict[str, Any] = {
        "common": HALF,
        "only train": positives(6, 0),
        "only test": positives(0, 6),
        "rare": positives(6, 2),
        "classes": np.where(positives(3, 1) == 1, "b", "a"),
        "real": np.random.default_rng(0).normal(size=N),
    }
    return TaskSet.from_arrays(np.zeros((N, 1)), columns, split=SPLIT)


def test_they_are_counted(task_set: TaskSet) -> None:
    assert minorities(task_set.labels, task_set.tasks, task_set.rows("test")) == [20, 0, 6, 2, 1, 40]


def test_two_values_in_training_and_test_rows_are_needed_by_default(task_set: TaskSet) -> None:
    message = (
        r"constant tasks, 2 of 6: 'only train' has only the label 0 in the test rows; 'only test' has only the label 0 "
        r"in the train rows \(expected two values or more; remove them, or set data.constant_tasks=drop, or set "
        r"data.constant_tasks=unscored to train the 1 that vary in the train rows all the same, or set "
        r"data.split=stratified where a split was given\)$"
    )
    with pytest.raises(InputError, match=message):
        task_set.without_constant_tasks("refuse")
    kept = task_set.without_constant_tasks("drop")
    assert kept.dropped == ("only train", "only test")
    unscored = task_set.without_constant_tasks("unscored")
    assert unscored.dropped == ("only test",), "what cannot be learned is not trained"
    assert [task.name for task in unscored.tasks if not task.is_scored] == ["only train"]


@pytest.mark.parametrize(
    ("columns", "needed", "ways"),
    [
        ({"active": HALF * 0 + 1}, 1, ["drop"]),
        ({"only train": positives(6, 0)}, 1, ["drop", "unscored", "stratified"]),
        ({"one": positives(1, 0)}, 1, ["drop", "unscored"]),
        ({"only test": positives(0, 6)}, 1, ["drop", "stratified"]),
        ({"rare": positives(6, 2)}, 5, ["drop", "unscored"]),
        ({"rare": positives(16, 2)}, {"test": 3}, ["drop", "unscored", "stratified"]),
        ({"rare": positives(6, 2)}, {"test": 3}, ["drop", "unscored"]),
    ],
)
def test_what_is_advised_helps(columns: dict[str, Any], needed: Any, ways: list[str]) -> None:
    task_set = TaskSet.from_arrays(np.zeros((N, 1)), {"half": HALF, **columns}, split=SPLIT)
    with pytest.raises(InputError) as refused:
        task_set.without_constant_tasks("refuse", needed)
    assert re.findall("drop|unscored|stratified", str(refused.value)) == ways
    unscored = task_set.without_constant_tasks("unscored", needed)
    assert ("unscored" in ways) == (unscored.dropped == ()), "it is trained where that is advised"
    anew = task_set.with_new_split(0).without_constant_tasks("drop", needed)
    assert ("stratified" in ways) == (anew.dropped == ())
    with pytest.raises(InputError, match=r"remove them\)$"):
        TaskSet.from_arrays(np.zeros((N, 1)), {"a": HALF * 0, "b": HALF * 0}).without_constant_tasks("refuse")


def test_more_may_be_asked_for_in_each_split(task_set: TaskSet) -> None:
    assert task_set.without_constant_tasks("drop", 3).dropped == ("only train", "only test", "rare", "classes")
    assert task_set.without_constant_tasks("drop", {"test": 2}).dropped == ("only train", "only test", "classes")
    every = task_set.without_constant_tasks("unscored", {"val": 1})
    assert [task.name for task in every.tasks if task.is_scored] == ["common", "real"]
    with pytest.raises(InputError, match=r"'rare' has 2 rarer labels in the test rows, fewer than 3.*min_positives"):
        task_set.without_constant_tasks("refuse", 3)
    with pytest.raises(InputError, match="no task of 6 can be scored"):
        task_set.without_constant_tasks("unscored", {"test": 50})


def test_a_label_is_named_as_the_data_has_it() -> None:
    columns = {"half": HALF, "pet": ["cat"] * 160 + ["dog"] * 40, "number": np.where(np.arange(N) < 160, 5, 7)}
    task_set = TaskSet.from_arrays(np.zeros((N, 1)), columns, split=SPLIT)
    with pytest.raises(InputError, match=r"'pet' has only the label cat .*'number' has only the label 5 "):
        task_set.without_constant_tasks("refuse")


def test_many_names_are_counted_not_listed() -> None:
    labels = np.concatenate([np.stack([HALF] * 2, axis=1), np.zeros((N, 114), int)], axis=1)
    task_set = TaskSet.from_arrays(np.zeros((N, 1)), labels)
    with pytest.raises(InputError, match=r"114 of 116: 'task_2' .*; and 109 more \("):
        task_set.without_constant_tasks("refuse")
    line = about(task_set.without_constant_tasks("drop"))[-1]
    assert line == "dropped, constant or rare: 114 of 116 tasks, task_2, task_3, task_4, task_5, task_6, and 109 more"
    assert first_names(["a", "b"]) == "a, b"


def test_an_unscored_task_has_no_score(task_set: TaskSet) -> None:
    tasks = {task.name: task for task in task_set.without_constant_tasks("unscored").tasks}
    prediction, labels = np.linspace(0, 1, 40), HALF[:40]
    assert np.isnan(primary_score(tasks["only train"], prediction, labels))
    assert np.isnan(list(score(tasks["only train"], prediction, labels).values())).all()
    assert np.isfinite(primary_score(tasks["common"], prediction, labels))


def test_settings(tmp_path: Any) -> None:
    labels = np.stack([HALF, positives(30, 0), 1 - HALF, np.full(N, -1)], axis=1)
    arrays = {"inputs": np.random.default_rng(0).normal(size=(N, 2)), "labels": labels, "split": SPLIT}
    np.savez(tmp_path / "mine.npz", **arrays)
    config: dict[str, Any] = {"data": {"npz": str(tmp_path / "mine.npz")}}
    with pytest.raises(
        InputError, match=r"'task_3' has no label at all: remove it .of data .*data.constant_tasks=drop"
    ):
        load_task_set(load_config(config).data, seed=0)
    dropped = load_task_set(load_config(config, ["data.constant_tasks=drop"]).data, seed=0)
    assert dropped.dropped == ("task_1", "task_3")
    anew = load_task_set(load_config(config, ["data.constant_tasks=drop", "data.split=stratified"]).data, seed=0)
    assert anew.dropped == ("task_3",)
    test = anew.rows("test")
    assert len(test) == 40
    assert anew.labels[test, 1].sum() == 6, "a fifth of the positives"
    few = load_config(config, ["data.constant_tasks=drop", "data.min_positives={test: 25}"])
    with pytest.raises(InputError, match="all 4 tasks are constant: 'task_0' has 20 rarer labels in the test rows"):
        load_task_set(few.data, seed=0)


def test_what_was_understood_is_told(task_set: TaskSet) -> None:
    assert about(task_set.without_constant_tasks("unscored", 3)) == [
        "4 binary; rarest: 'classes' with 3 training rows of the rarer class",
        "1 regression; rarest: 'real' with 140 training rows",
        "inputs: 1 float32 numbers from 0 to 0",
        "dropped, constant or rare: 1 of 6 tasks, only test",
        "trained and not scored: 3 of 5 tasks, only train, rare, classes",
    ]
    labels = {"a": [0, 1, 2, None] * 50, "b": [0, 1, 2, 3, 4] * 40}
    images = TaskSet.from_arrays(np.zeros((N, 3, 4, 5), np.uint8), labels)
    kinds, inputs = about(images)
    assert kinds.startswith("2 multiclass of 3 to 5 classes, 12 % of labels missing; rarest: 'a' with ")
    assert inputs == "inputs: 3 channels of 4 x 5 uint8 pixels from 0 to 0"
    assert about(TaskSet.from_arrays(np.zeros((N, 3, 4)), {"a": HALF, "b": HALF}))[-1] == (
        "inputs: 3 x 4 float32 values from 0 to 0"
    )


def test_what_some_rows_tell_nothing_of_is_named() -> None:
    split = np.array(["train"] * 140 + ["val"] * 20 + ["test"] * 40)
    late = np.where(np.arange(N) < 160, np.arange(N) % 2, np.arange(N) % 3)  # the third class is in test rows only
    labels = {
        "fine": HALF,
        "pet": np.array(["cat", "dog", "owl"])[late],
        "no label": np.where(split == "val", -1, HALF),
        "one value": np.where(split == "val", 1, HALF),
        "real": np.where((split == "val") & (np.arange(N) > 140), np.nan, np.arange(N) / 7),
        "flat": np.where(split == "val", 0.5, np.arange(N) / 7),
    }
    task_set = TaskSet.from_arrays(np.zeros((N, 1)), labels, split=split)
    assert about(task_set)[-2:] == [
        "classes without a training row, never learned: owl of 'pet'",
        "not scored on validation rows, which have no label or one value of them: 4 of 6 tasks, no label, one value, "
        "real, flat",
    ]
    fine = TaskSet.from_arrays(
        np.zeros((N, 1)), {"fine": HALF, "pet": np.array(["cat", "dog", "owl"])[np.arange(N) % 3]}
    )
    assert not any("never learned" in line or "validation" in line for line in about(fine))
