"""Several task sets in one run: every task sees the samples of its own set only."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from stg_ray.config.loading import load_config
from stg_ray.data.joining import join_task_sets
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet
from stg_ray.tasks.notes import noted
from stg_ray.tasks.sparse_rows import SparseRows

RNG = np.random.default_rng(0)


@pytest.fixture
def two_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, TaskSet]:
    """A set of two binary tasks with known groups, and one of a regression and a constant task."""
    halves = np.stack([np.arange(40) % 2, np.arange(40) // 2 % 2], axis=1)
    first = {"inputs": RNG.integers(0, 256, (40, 6), dtype=np.uint8), "labels": halves, "groups": ["left", "right"]}
    second = {"inputs": RNG.normal(size=(30, 6)), "labels": np.stack([RNG.normal(size=30), np.full(30, 1.0)], axis=1)}
    np.savez(tmp_path / "first.npz", **first, names=["a", "b"])
    np.savez(tmp_path / "second.npz", **second, names=["a", "constant"])
    np.savez(tmp_path / "other.npz", inputs=RNG.normal(size=(40, 5)), labels=halves)
    monkeypatch.setenv("STG_RAY_DATA", str(tmp_path))
    return {name: TaskSet.from_arrays(**part) for name, part in (("first", first), ("second", second))}


def test_tasks_are_prefixed_and_have_labels_for_their_own_samples_only(two_sets: dict[str, TaskSet]) -> None:
    parts = [{"npz": "first.npz"}, {"npz": "second.npz", "constant_tasks": "drop", "name": "second set"}]
    task_set = load_task_set(load_config({"data": parts}).data, seed=0)
    assert task_set.names == ("first/a", "first/b", "second set/a")
    assert [task.group for task in task_set.tasks] == ["first/left", "first/right", "second set"]
    assert [task.kind for task in task_set.tasks] == ["binary", "binary", "regression"]
    assert task_set.dropped == ("second set/constant",)
    assert task_set.inputs.dtype == np.float32
    assert np.array_equal(task_set.inputs[:40], two_sets["first"].inputs)
    assert np.array_equal(task_set.labels[:40, :2], two_sets["first"].labels)
    assert np.isnan(task_set.labels[:40, 2]).all()
    assert np.isnan(task_set.labels[40:, :2]).all()
    assert np.array_equal(task_set.labels[40:, 2], two_sets["second"].labels[:, 0])
    for split in SPLITS:
        assert len(task_set.rows(split)) == sum(len(own.rows(split)) for own in two_sets.values())


def tables(folder: Path, *features: str) -> list[dict]:
    """Tables of 40 rows, of which each has a letter for the name of a feature, whose values are the letter's number."""
    parts = []
    for number, letters in enumerate(features):
        labels = {"y_0": np.arange(40) % 2, "y_1": np.arange(40) // 2 % 2}
        pd.DataFrame({**{letter: float(ord(letter)) for letter in letters}, **labels}, index=range(40)).to_csv(
            folder / f"set{number}.csv", index=False
        )
        parts.append({"csv": {"files": f"{folder}/set{number}.csv", "features": list(letters), "labels": ["y_*"]}})
    return parts


def test_features_of_the_same_names_are_the_same_whatever_their_order(tmp_path: Path) -> None:
    task_set = load_task_set(load_config({"data": tables(tmp_path, "abc", "cab")}).data, seed=0)
    assert task_set.features == ("a", "b", "c")
    assert np.array_equal(task_set.inputs[:], [[ord("a"), ord("b"), ord("c")]] * 80)


def test_sparse_features_are_taken_by_their_names() -> None:
    dense = RNG.normal(size=(50, 1200)) * (RNG.random((50, 1200)) < 0.01)
    names = [f"f{i}" for i in range(1200)]
    order = RNG.permutation(1200)
    labels = np.stack([np.arange(50) % 2, np.arange(50) // 2 % 2], axis=1)
    first = TaskSet.from_arrays(csr_matrix(dense), labels, features=names)
    second = TaskSet.from_arrays(csr_matrix(dense[:, order]), labels, features=[names[i] for i in order])
    task_set = join_task_sets({"first": first, "second": second})
    assert isinstance(task_set.inputs, SparseRows)
    assert np.array_equal(task_set.inputs[50:], dense.astype(np.float32))
    again = SparseRows.of(csr_matrix(dense))
    assert np.array_equal(task_set.inputs.take(slice(50, 100)).columns, again.columns), "sorted within their rows"


def test_features_by_position_are_said(tmp_path: Path, two_sets: dict[str, TaskSet]) -> None:
    unnamed = {"npz": "first.npz", "name": "arrays"}
    cases: tuple[tuple[list, tuple[str, ...] | None, list[str]], ...] = (
        (tables(tmp_path, "abcdef", "uvwxyz", "zyxwvu"), None, ["'set1'.*names u, v, w, and 3 more.*a, b, .* 'set0'"]),
        ([unnamed, *tables(tmp_path, "abcdef")], tuple("abcdef"), ["'arrays'.*they have no names.* of 'set0'"]),
        ([unnamed, {**unnamed, "name": "others"}], None, []),
    )
    for parts, features, expected in cases:
        with noted() as notes:
            task_set = load_task_set(load_config({"data": parts}).data, seed=0)
        assert task_set.features == features
        assert len(notes) == len(expected)
        assert all(re.search(pattern, note) for pattern, note in zip(expected, notes, strict=True))
        if len(parts) == 3:
            assert np.array_equal(task_set.inputs[40], task_set.inputs[80]), "the third is in the order of the second"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (("abc", "abd"), "'set0' lacks d of 'set1'; 'set1' lacks c of 'set0': name the same, or rename them"),
        (("abc", "ab"), "'set1' lacks c of 'set0': name the same"),
        (("abc", "xyz", "xy"), "'set2' lacks z of 'set1'"),
    ],
)
def test_features_of_which_some_are_the_same_are_refused(
    tmp_path: Path, features: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load_task_set(load_config({"data": tables(tmp_path, *features)}).data, seed=0)


def test_what_is_said_of_a_set_names_it(tmp_path: Path, two_sets: dict[str, TaskSet]) -> None:
    (tmp_path / "cut.csv").write_text("a,y_0,y_1\n1,0,1\nx,1,0\n")
    for part in (
        {"npz": "second.npz"},
        {"npz": "none.npz"},
        {"function": "nowhere:load"},
        {"csv": {"files": "cut.csv", "features": ["a"], "labels": ["y_*"]}},
        {"parquet": {"files": ".", "features": ["a"], "labels": ["y_*"]}},
    ):
        data = [{"npz": "first.npz"}, {**part, "name": "mine"}]
        with pytest.raises(InputError, match=r"^the joined set 'mine' \(data\.join\.1\): "):
            load_task_set(load_config({"data": data}).data, seed=0)


def test_what_may_not_be_meant_is_said_of_its_set(tmp_path: Path) -> None:
    parts = tables(tmp_path, "ab", "cd")
    pd.read_csv(tmp_path / "set1.csv").assign(row_id=range(40)).to_csv(tmp_path / "set1.csv", index=False)
    parts[1]["csv"]["features"] = ["row_id", "c"]
    with noted() as notes:
        load_task_set(load_config({"data": parts}).data, seed=0)
    said = "the joined set 'set1' (data.join.1): the feature 'row_id' is another number"
    assert any(note.startswith(said) for note in notes)


def test_presets_by_name_and_limits_of_each_and_of_all() -> None:
    parts = ["digits", {"preset": "digits", "name": "again", "limit": 100}]
    task_set = load_task_set(load_config({"data": parts}).data, seed=0)
    assert len(task_set.tasks) == 30
    train = task_set.rows("train")
    assert (train >= 1797).sum() == 100
    limited = load_task_set(load_config({"data": parts}, ["data.limit=600"]).data, seed=0)
    assert len(limited.rows("train")) == 600
    assert np.isin(limited.rows("train"), train).all()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (["digits", "digits"], "distinct names"),
        ([{"npz": "first.npz"}, {"npz": "other.npz"}], r"\(6,\) of first, \(5,\) of other.*one trunk needs one shape"),
        ([{"npz": "first.npz"}, {"npz": "second.npz"}], "'constant' has only the label 1"),
        (["digts"], "unknown preset 'digts'"),
        ([], "exactly one of"),
        ([{"join": ["digits"]}], "cannot be joined again"),
    ],
)
def test_sets_that_do_not_fit(two_sets: dict[str, TaskSet], parts: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_task_set(load_config({"data": parts}).data, seed=0)
