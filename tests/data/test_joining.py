"""Several task sets in one run: every task sees the samples of its own set only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stg_ray.config.loading import load_config
from stg_ray.data.sources import load_task_set
from stg_ray.errors import InputError
from stg_ray.tasks import SPLITS, TaskSet

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


@pytest.mark.parametrize("other", ["ab", "ba"])
def test_features_keep_their_names_where_all_sets_have_the_same(tmp_path: Path, other: str) -> None:
    parts = []
    for name, features in {"first": "ab", "second": other}.items():
        frame = pd.DataFrame({**dict.fromkeys(features, 1.0), "y_0": np.arange(40) % 2, "y_1": np.arange(40) // 2 % 2})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        parts.append({"csv": {"files": f"{tmp_path}/{name}.csv", "features": list(features), "labels": ["y_*"]}})
    task_set = load_task_set(load_config({"data": parts}).data, seed=0)
    assert task_set.features == (("a", "b") if other == "ab" else None)


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
