"""What is left to the tasks is settled once, when their parts are there: a run of any task set needs no settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.checks import check
from stg_ray.config.loading import load_config, set_values
from stg_ray.config.recipes import MLP, OTHERS
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError
from stg_ray.settling import settle
from stg_ray.tasks import TaskSet

BY_SAMPLE = ["confidence_adjusted", "logit_adjusted"]
ANY = load_config({"data": {"npz": "mine.npz"}})


def own_rows(task_set: TaskSet) -> TaskSet:
    """The same tasks, each with labels of rows that no other has."""
    labels = task_set.labels.copy()
    missing = np.nan if labels.dtype.kind == "f" else -1
    labels[np.arange(len(labels))[:, None] % labels.shape[1] != np.arange(labels.shape[1])] = missing
    return replace(task_set, labels=labels)


def with_regression(task_set: TaskSet) -> TaskSet:
    values = np.random.default_rng(0).normal(size=len(task_set.labels))
    return TaskSet.from_arrays(task_set.inputs, np.column_stack([task_set.labels, values]))


def test_affinities_suit_the_tasks(make_task_set: Callable[..., TaskSet]) -> None:
    common = make_task_set()
    for task_set, expected in (
        (common, BY_SAMPLE),
        (own_rows(common), ["landscape"]),
        (with_regression(common), ["logit_adjusted"]),
        (own_rows(with_regression(common)), ["landscape"]),
    ):
        index = index_of(task_set)
        settled = settle(ANY, index)
        assert settled.affinity.methods == expected
        check(settled, index)
        assert settle(settled, index_of(common)) == settled, "once"


def test_gpus_are_left_to_networks_that_keep_one_busy(make_task_set: Callable[..., TaskSet]) -> None:
    flat = make_task_set()
    images = TaskSet.from_arrays(np.zeros((len(flat.labels), 1, 8, 8), np.uint8), flat.labels)
    for settings, task_set, expected in (
        ([], flat, 0.0),
        (["model.width=4096"], flat, 1.0),
        ([], images, 1.0),
        (["profile.gpus=1", "retrain.gpus=0.25"], flat, (1.0, 0.25)),
        (["retrain.gpus=0"], images, (1.0, 0.0)),
    ):
        config = settle(set_values(ANY, settings), index_of(task_set))
        of_both = expected if isinstance(expected, tuple) else (expected, expected)
        assert (config.profile.gpus, config.retrain.gpus) == of_both


def test_methods_that_are_named_stay(make_task_set: Callable[..., TaskSet]) -> None:
    config = set_values(ANY, ["affinity.methods=[tag]"])
    assert settle(config, index_of(make_task_set())).affinity.methods == ["tag"]
    assert set_values(config, ["affinity.methods=auto"]).affinity.methods == ["auto"]
    with pytest.raises(InputError, match="auto stands for the methods that suit the tasks: give it alone"):
        set_values(ANY, ["affinity.methods=[auto, tag]"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("grouping.weights={confidence_adjusted: 0, logit_adjusted: 0}", "all zero"),
        ("grouping.weights={mine: 1}", "names 'mine', which is not among affinity.methods"),
        ("grouping.files={logit_adjusted: mine.csv}", "named more than once"),
    ],
)
def test_weights_and_files_are_of_the_affinities_that_were_settled(
    setting: str, message: str, make_task_set: Callable[..., TaskSet]
) -> None:
    config = set_values(ANY, [setting])
    with pytest.raises(InputError, match=message):
        settle(config, index_of(make_task_set()))
    weighted = set_values(ANY, ["grouping.weights={logit_adjusted: 2}"])
    assert settle(weighted, index_of(make_task_set())).grouping.weights == {"logit_adjusted": 2}


def test_a_run_keeps_what_was_settled(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    """Its config.yaml has it from the first stage on, and the same command finds it."""
    task_set = own_rows(make_task_set())
    run = sr.run(task_set, tmp_path / "run", until="parts")
    kept = run.config
    assert kept.affinity.methods == ["landscape"]
    assert (kept.model.width, kept.profile.lr) == (MLP.width, MLP.lr)
    again = ANY.resolved_as(RunDir(tmp_path / "run").read_config())
    assert again.affinity.methods == ["landscape"]
    assert again.retrain.lr == MLP.lr != OTHERS.lr
    assert sr.run(task_set, tmp_path / "run", until="parts").config == kept
