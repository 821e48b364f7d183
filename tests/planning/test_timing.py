"""The plan's times come from a measurement, and grow with what there is to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

import stg_ray as sr
from stg_ray.config.loading import set_values
from stg_ray.data.parts import index_of
from stg_ray.planning.timing import (
    IN_STEP,
    NEXT_SECONDS,
    TRIAL_SECONDS,
    Pace,
    measure_pace,
    seconds_of_starts,
    seconds_of_trials,
)
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import resolve_recipe


def test_a_larger_trunk_takes_longer(make_task_set: Callable[..., TaskSet]) -> None:
    task_set = make_task_set(n_samples=400)
    paces = []
    for width in (8, 1500):
        config = resolve_recipe(
            sr.load_config({"data": {"npz": "by hand"}, "model": {"width": width}}), task_set.inputs.shape[1:]
        )
        paces.append(measure_pace(config, config.retrain, task_set, index_of(task_set)))
    assert paces[1].step[0] > 3 * paces[0].step[0] > 0
    assert paces[1].predict[1] > 3 * paces[0].predict[1] > 0


def test_all_kinds_of_tasks_can_be_measured() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(60) % 3, np.arange(60) % 2, rng.normal(size=60)], axis=1)
    kinds = ["multiclass", "binary", "regression"]
    task_set = sr.TaskSet.from_arrays(rng.normal(size=(60, 4)), labels, kinds=kinds)
    config = resolve_recipe(sr.load_config({"data": {"npz": "by hand"}}), (4,))
    assert measure_pace(config, config.retrain, task_set, index_of(task_set)).score > 0


def test_trials_share_the_cpus_and_the_longest_is_a_bound(make_task_set: Callable[..., TaskSet]) -> None:
    index = index_of(make_task_set())
    pace = Pace(6, step=(0.01, 0.02), predict=(0.0, 0.0), score=0.0)
    alone = NetworkSpec("ours", 0, ("t",), 0, 0, epochs=10)
    seconds = TRIAL_SECONDS + 10 * 0.01 * index.n_samples()
    config = sr.load_config({"data": {"npz": "x"}, "model": {"width": 8}, "retrain": {"stacked": "never"}})
    np.testing.assert_allclose(seconds_of_trials([alone], pace, index, 2, config), seconds)
    np.testing.assert_allclose(seconds_of_trials([alone] * 6, pace, index, 2, config), 3 * seconds)
    branched = replace(alone, branches=(2, 2, 2))
    np.testing.assert_allclose(
        seconds_of_trials([branched], pace, index, 2, config), 2 * seconds - TRIAL_SECONDS, err_msg="half of its layers"
    )
    in_step = set_values(config, ["retrain.stacked=auto"])
    np.testing.assert_allclose(seconds_of_trials([alone] * 6, pace, index, 2, in_step), (1 + 2 * IN_STEP) * seconds)
    assert seconds_of_trials([], pace, index, 2, in_step) == 0
    np.testing.assert_allclose(pace.epoch(6, 100, 0), 2 * pace.epoch(1, 100, 0))


def test_every_round_of_a_search_starts_workers_anew() -> None:
    plans = {"[ours]": 0, "[ours, all_in_one_equal_cost]": 1, "[ours, searched]": 4}
    one = seconds_of_starts(sr.load_config("digits", ["retrain.plans=[all_in_one]", "retrain.epochs=3"]))
    for names, further in plans.items():
        config = sr.load_config("digits", [f"retrain.plans={names}", "retrain.epochs=auto", "search.rounds=4"])
        assert seconds_of_starts(config) == one + further * NEXT_SECONDS
    config = sr.load_config("digits", ["retrain.plans=[searched]", "search.rounds=4", "search.finalists=3"])
    assert seconds_of_starts(config) == one + 5 * NEXT_SECONDS
