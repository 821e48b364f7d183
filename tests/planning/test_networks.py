"""The networks that a plan tells of, where tasks have rows of their own."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.config.loading import set_values
from stg_ray.data.parts import PartIndex, index_of
from stg_ray.planning.episodes import samples_of_epoch
from stg_ray.planning.networks import expected_networks, groups_text
from stg_ray.planning.timing import Pace, seconds_of_trials
from stg_ray.training.auto import resolve_recipe


def index_with(labels: np.ndarray, like: sr.TaskSet) -> PartIndex:
    return index_of(sr.TaskSet.from_arrays(like.inputs, labels, names=[t.name for t in like.tasks], missing=[-1]))


@pytest.mark.parametrize("own_rows", [False, True])
def test_rows_of_networks_are_those_with_a_label_of_their_tasks(
    make_task_set: Callable[..., sr.TaskSet], own_rows: bool
) -> None:
    whole = make_task_set(n_samples=600)
    labels = np.array(whole.labels)
    if own_rows:
        labels[np.arange(600)[:, None] % 6 != np.arange(6)] = -1
    index = index_with(labels, whole)
    plans = ["ours", "all_in_one", "all_in_one_equal_cost"]
    sections = {"data": {"npz": "x"}, "grouping": {"groups": 3}, "retrain": {"plans": plans, "epochs": 4}}
    config, specs = expected_networks(resolve_recipe(sr.load_config(sections), (12,)), index)
    by_plan = {spec.plan: spec for spec in specs}
    assert by_plan["all_in_one_equal_cost"].epochs == (4 if own_rows else 12), "as many rows as three networks of two"
    rows = {plan: samples_of_epoch(config, index, len(spec.tasks)) for plan, spec in by_plan.items()}
    assert rows["all_in_one"] == index.n_samples()
    assert rows["ours"] == (math.ceil(index.n_samples() / 3) if own_rows else index.n_samples())
    pace = Pace(6, step=(0.01, 0.01), predict=(0.0, 0.0), score=0.0)
    one, ours = (seconds_of_trials([by_plan[plan]], pace, index, 1, config) for plan in ("all_in_one", "ours"))
    assert one - ours == pytest.approx(0.04 * (rows["all_in_one"] - rows["ours"]))


def test_networks_of_known_groups_are_theirs(make_task_set: Callable[..., sr.TaskSet]) -> None:
    index = index_of(make_task_set(n_samples=60))
    sections = {"data": {"npz": "x"}, "retrain": {"plans": ["ours", "searched"], "epochs": 2}}
    config = resolve_recipe(sr.load_config(sections), (12,))
    found = Groups.from_labels(index.names, np.array([0, 1, 2, 3, 4, 4]), "widened")
    for ours, number in ((None, 2), (found, 5)):
        _, specs = expected_networks(config, index, ours)
        assert [sum(spec.plan == plan for spec in specs) for plan in ("ours", "searched")] == [number, number]
    assert groups_text(config, index.names) == (
        "1 to 2 groups, chosen by silhouette (to 4 where 2 are best, with as many more networks)"
    )
    bounded = set_values(config, ["grouping.max_groups=3"])
    assert groups_text(bounded, index.names) == "1 to 3 groups, chosen by silhouette"
