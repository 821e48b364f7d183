"""Labels are checked at the door, stored small, and split so that rare ones are everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet, observed
from stg_ray.tasks.splitting import stratified_split

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(40, 3))
HALF = np.arange(40) % 2


def labels_with(column: np.ndarray) -> np.ndarray:
    return np.stack([HALF, column], axis=1)


def labels_with_n(n: int) -> np.ndarray:
    return np.stack([np.arange(n) % 2, np.arange(n)], axis=1)


def test_kinds_are_told_from_the_labels() -> None:
    integers = np.stack([HALF, np.arange(40) % 3], axis=1)
    assert [task.kind for task in TaskSet.from_arrays(INPUTS, integers).tasks] == ["binary", "multiclass"]
    floats = labels_with(RNG.normal(size=40))
    assert [task.kind for task in TaskSet.from_arrays(INPUTS, floats).tasks] == ["binary", "regression"]


def test_labels_are_stored_in_the_smallest_type_with_minus_one_for_missing() -> None:
    column = HALF.astype(float)
    column[3] = np.nan
    task_set = TaskSet.from_arrays(INPUTS, labels_with(column))
    assert task_set.labels.dtype == np.int8
    assert task_set.labels[3, 1] == -1
    many = TaskSet.from_arrays(INPUTS, labels_with(np.arange(40) // 2 * 10), kinds=["binary", "multiclass"])
    assert many.labels.dtype == np.int8
    assert many.tasks[1].classes == tuple(range(0, 200, 10)), "what occurs is numbered"
    wide = TaskSet.from_arrays(np.zeros((150, 1)), labels_with_n(150), kinds=["binary", "multiclass"])
    assert wide.labels.dtype == np.int16


def test_labels_that_occur_once_are_spread_over_the_splits() -> None:
    codes = stratified_split(np.arange(1000)[:, None], (0.7, 0.1, 0.2), 0)
    assert np.abs(np.bincount(codes) - [700, 100, 200]).max() < 50


def test_regression_targets_are_standardised_by_training_rows() -> None:
    values = RNG.normal(loc=5, scale=3, size=40)
    values[0] = np.nan
    task_set = TaskSet.from_arrays(INPUTS, labels_with(values))
    train = task_set.labels[task_set.rows("train"), 1]
    assert task_set.tasks[1].center == pytest.approx(np.nanmean(train), rel=1e-6)
    assert task_set.tasks[1].scale == pytest.approx(np.nanstd(train), rel=1e-5)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (INPUTS, np.zeros((40, 0)), {}, "labels have no column"),
        (INPUTS[:-1], labels_with(HALF), {}, "shape"),
        (np.where(np.arange(120).reshape(40, 3) == 7, np.nan, INPUTS), labels_with(HALF), {}, "row 2"),
        (np.array([[1, 2], [3]], dtype=object), labels_with(HALF), {}, "ragged"),
        (INPUTS, labels_with(np.full(40, -1)), {}, "'task_1' has no label at all"),
        (INPUTS, labels_with(np.arange(40) % 3), {"kinds": ["binary", "binary"]}, "'task_1' is binary and has"),
        (INPUTS, labels_with(HALF), {"names": ["a", "a"]}, "distinct"),
        (INPUTS, labels_with(HALF), {"names": ["a"]}, "1 task names for 2"),
        (INPUTS, labels_with(HALF), {"names": ["a", "__task__"]}, "__task__"),
        (INPUTS, labels_with(HALF), {"kinds": ["binary", "ordinal"]}, "'ordinal'"),
        (INPUTS, labels_with(HALF), {"split": ["train"] * 40}, "no 'test' row"),
        (INPUTS, labels_with(HALF), {"split": ["train", "holdout"] * 20}, "'holdout'"),
        (
            INPUTS,
            labels_with(HALF),
            {"class_weights": [None, (1.0,)]},
            "'task_1' has the class weights .1.0.: expected 2",
        ),
        (INPUTS, labels_with(HALF), {"class_weights": [None, (1.0, 0.0)]}, "expected 2 positive numbers"),
        (INPUTS, labels_with(np.where(HALF, np.inf, 0.0)), {}, "'task_1' has infinite labels"),
        (
            INPUTS,
            labels_with(np.where(HALF, -2, 0)),
            {"kinds": ["binary"] * 2},
            "has the labels -2 and 0: which are missing",
        ),
        (INPUTS[:15], labels_with(HALF)[:15], {}, "15 rows: expected at least 20"),
        (INPUTS, labels_with(HALF), {"kinds": ["binary"]}, "1 kinds for 2 tasks"),
        (INPUTS, labels_with(HALF), {"kinds": "binary"}, r"kinds is 'binary': expected .* such as \['binary'\]"),
        (INPUTS, labels_with(HALF), {"missing": -9}, r"missing is -9: expected a list of entries, such as \[-9\]"),
        (INPUTS, labels_with(HALF), {"missing": "none"}, "missing is 'none': expected a list"),
        (INPUTS, labels_with(HALF), {"groups": 3}, "groups is 3: expected a list"),
        (INPUTS, labels_with(HALF), {"class_weights": 2.0}, "class_weights is 2.0: expected a list"),
        (INPUTS, labels_with(HALF), {"names": 2}, "names is 2: expected a list"),
        (INPUTS, labels_with(HALF), {"features": "abc"}, "features is 'abc': expected a list"),
        (INPUTS, labels_with(HALF), {"seed": -1}, "seed is -1: expected a whole number from 0"),
        (INPUTS, labels_with(HALF), {"seed": "a"}, "seed is 'a': expected a whole number from 0"),
    ],
)
def test_wrong_input_is_refused_with_what_was_found(
    inputs: np.ndarray, labels: np.ndarray, options: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TaskSet.from_arrays(inputs, labels, **options)


def test_limits_and_policies_are_those_that_there_are() -> None:
    task_set = TaskSet.from_arrays(INPUTS, labels_with(HALF))
    for limit in (-1, 0, 2.5):
        with pytest.raises(InputError, match=f"limit of training rows is {limit}: expected a whole number from 1"):
            task_set.limited(limit, 0)
    with pytest.raises(InputError, match="unknown policy for constant tasks 'foo': known: refuse, drop, unscored"):
        task_set.without_constant_tasks("foo")
    with pytest.raises(InputError, match="seed is None: expected a whole number"):
        task_set.with_new_split(None)


def test_constant_tasks_are_refused_or_dropped_by_name() -> None:
    labels = np.stack([HALF, np.zeros(40, int), 1 - HALF], axis=1)
    task_set = TaskSet.from_arrays(INPUTS, labels)
    with pytest.raises(InputError, match=r"'task_1' has only the label 0 in the train rows.*constant_tasks=drop"):
        task_set.without_constant_tasks("refuse")
    kept = task_set.without_constant_tasks("drop")
    assert kept.names == ("task_0", "task_2")
    assert kept.dropped == ("task_1",)
    assert kept.labels.shape == (40, 2)
    by_split = TaskSet.from_arrays(INPUTS, labels, split=["train", "test"] * 20)
    with pytest.raises(InputError, match="all 3 tasks are constant"):
        by_split.without_constant_tasks("drop")


def test_balanced_classes_have_the_same_part_in_the_loss() -> None:
    rare = (np.arange(200) % 10 == 0).astype(int)
    rare[5] = -1
    labels = np.stack([np.arange(200) % 3, rare, np.arange(200) % 2], axis=1)
    given = TaskSet.from_arrays(np.zeros((200, 1)), labels, class_weights=[None, None, (1.0, 3.0)])
    balanced = given.with_balanced_classes()
    assert balanced.tasks[2].class_weights == (1.0, 3.0), "weights that were given stay"
    for t in (0, 1):
        column = given.labels[given.rows("train"), t]
        counts = np.bincount(column[column >= 0])
        weighted = counts * np.array(balanced.tasks[t].class_weights)
        assert weighted == pytest.approx(np.full(len(counts), counts.sum() / len(counts)))


def test_a_split_without_positives_is_told() -> None:
    only_train = np.where(np.arange(40) < 6, 1, 0)
    split = ["train"] * 30 + ["test"] * 10
    task_set = TaskSet.from_arrays(INPUTS, np.stack([HALF, only_train], axis=1), names=["even", "räre"], split=split)
    with pytest.raises(InputError, match="'räre' has only the label 0 in the test rows"):
        task_set.without_constant_tasks("refuse")


def test_a_limit_takes_training_rows_only() -> None:
    task_set = TaskSet.from_arrays(INPUTS, labels_with(HALF))
    limited = task_set.limited(10, seed=1)
    assert len(limited.rows("train")) == 10
    for split in ("val", "test"):
        assert len(limited.rows(split)) == len(task_set.rows(split))
    assert np.isin(limited.rows("train"), task_set.rows("train")).all()
    assert np.array_equal(limited.split, task_set.limited(10, seed=1).split)
    assert not np.array_equal(limited.split, task_set.limited(10, seed=2).split)


@given(
    positives=st.lists(st.integers(3, 60), min_size=1, max_size=6),
    missing=st.floats(0, 0.5),
    seed=st.integers(0, 1000),
)
def test_every_label_is_in_training_and_test_rows(positives: list[int], missing: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.zeros((200, len(positives)), dtype=int)
    for t, count in enumerate(positives):
        labels[rng.choice(200, count, replace=False), t] = 1
    rare = rng.random(labels.shape) < missing
    labels[rare & (labels == 0)] = -1  # missing labels do not make the rare ones rarer here
    codes = stratified_split(labels, (0.7, 0.1, 0.2), seed)
    assert set(np.unique(codes)) <= {0, 1, 2}
    order = np.argsort(positives, kind="stable")
    first = order[0]  # the rarest label is served first: nothing but its own count bounds it
    counts = np.bincount(codes[labels[:, first] == 1], minlength=3)
    assert counts.sum() == positives[first]
    assert np.abs(counts - np.array([0.7, 0.1, 0.2]) * positives[first]).max() <= 1
    assert counts[0] > 0
    assert counts[2] > 0


@given(
    n_classes=st.lists(st.integers(2, 4), min_size=1, max_size=4),
    given_split=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_splitting_loses_no_row_and_no_positive(n_classes: list[int], given_split: bool, seed: int) -> None:
    """Every row is in exactly one split, so every label is; and a class of ten rows or more is in all that are made."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(-1, n, 150) for n in n_classes], axis=1)
    split = np.where(rng.random(150) < 0.7, "train", "test") if given_split else None
    task_set = TaskSet.from_arrays(np.zeros((150, 1)), labels, kinds=["multiclass"] * len(n_classes), split=split)
    rows = np.concatenate([task_set.rows(name) for name in SPLITS])
    assert np.array_equal(np.sort(rows), np.arange(150))
    if split is not None:
        assert np.array_equal(task_set.split == 2, split == "test"), "a given split is kept"
    for t, n in enumerate(n_classes):
        for value in range(n):
            counts = np.bincount(task_set.split[labels[:, t] == value], minlength=3)
            assert counts.sum() == (labels[:, t] == value).sum()
            if split is None and counts.sum() >= 20:
                assert (counts > 0).all()


def test_observed_tells_missing_labels_of_both_kinds() -> None:
    assert observed(np.array([0, -1, 2])).tolist() == [True, False, True]
    assert observed(np.array([0.0, np.nan])).tolist() == [True, False]
    assert SPLITS == ("train", "val", "test")
