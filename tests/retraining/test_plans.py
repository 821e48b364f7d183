"""Plans: ours and what it is measured against."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from stg_ray.artifacts.groups import Groups
from stg_ray.config import PlanName
from stg_ray.config.loading import load_config, set_values
from stg_ray.config.plans import TOGETHER, plan_of_name
from stg_ray.errors import InputError
from stg_ray.retraining.plans import Plan, make_plans, network_specs
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.tasks import Task

NAMES = [f"t{t}" for t in range(6)]
TASKS = tuple(Task(name, group="even" if t % 2 == 0 else "odd") for t, name in enumerate(NAMES))
OURS = Groups.from_labels(NAMES, np.array([1, 1, 1, 0, 0, 2]), "spectral")
CONFIG = load_config("digits", ["retrain.plans=[ours, all_in_one, random, single_task, known]"])


def test_groups_are_numbered_by_their_first_task() -> None:
    assert OURS.groups == [["t0", "t1", "t2"], ["t3", "t4"], ["t5"]]


def test_every_plan_serves_every_task_once() -> None:
    plans = make_plans(OURS, TASKS, CONFIG)
    assert list(plans) == ["ours", "all_in_one", "random_0", "random_1", "single_task", "known"]
    for plan in plans.values():
        assert sorted(task for members in plan.groups.groups for task in members) == NAMES
    assert plans["known"].groups.groups == [["t0", "t2", "t4"], ["t1", "t3", "t5"]]
    for draw in ("random_0", "random_1"):
        assert sorted(map(len, plans[draw].groups.groups)) == [1, 2, 3]
    assert plans["random_0"] != plans["random_1"]


def test_overlapping_groups_are_trained_whole_and_each_task_is_served_once() -> None:
    members = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1]], dtype=bool)
    ours = Groups.from_labels(NAMES, np.array([0, 0, 0, 1, 1, 2]), "budget", members=members)
    plans = make_plans(ours, TASKS, set_values(CONFIG, ["retrain.plans=[ours, random]"]))
    assert [spec.tasks for spec in network_specs({"ours": Plan(ours, 6)}, CONFIG) if spec.seed == CONFIG.seed] == [
        ("t0", "t1", "t2", "t3"),
        ("t2", "t3", "t4"),
        ("t4", "t5"),
    ]
    for plan in (plan.groups for plan in plans.values()):
        assert sorted(map(len, plan.groups)) == [2, 3, 4]
        assert sorted(np.bincount(plan.labels)) == [1, 2, 3]
        assert all(task in plan.groups[g] for task, g in plan.serving.items())
        assert np.array(plan.membership).sum(axis=1).tolist() == [1] * 6
    assert plans["random_0"].groups.groups != ours.groups


def test_random_groups_keep_the_budget() -> None:
    given = [
        "grouping.groups=auto",
        "grouping.method=budget",
        "grouping.budget={networks: 3, together: [[t0, t1]], apart: [[t0, t2], [t3, t4]]}",
    ]
    ours = Groups.from_labels(NAMES, np.array([0, 0, 1, 0, 1, 2]), "budget")
    config = set_values(CONFIG, ["retrain.plans=[ours, random]", "retrain.random_groups=12", *given])
    drawn = [plan.groups for name, plan in make_plans(ours, TASKS, config).items() if name != "ours"]
    assert len({str(groups.groups) for groups in drawn}) > 3, "they are drawn all the same"
    for groups in drawn:
        assert sorted(map(len, groups.groups)) == [1, 2, 3]
        assert groups.serving["t0"] == groups.serving["t1"] != groups.serving["t2"]
        assert groups.serving["t3"] != groups.serving["t4"]
    free = make_plans(ours, TASKS, set_values(CONFIG, ["retrain.plans=[ours, random]", "retrain.random_groups=12"]))
    assert any(plan.groups.serving["t0"] != plan.groups.serving["t1"] for name, plan in free.items() if name != "ours")


def test_random_groups_of_a_budget_that_leaves_none_are_as_without() -> None:
    ours = Groups.from_labels(NAMES, np.array([0, 0, 0, 1, 1, 1]), "by hand")
    config = set_values(
        CONFIG,
        [
            "retrain.plans=[ours, random]",
            "grouping.groups=auto",
            "grouping.method=budget",
            "grouping.budget={networks: 2, min_size: 3, max_size: 3, apart: [[t0, t1, t2]]}",
        ],
    )
    free = set_values(CONFIG, ["retrain.plans=[ours, random]"])
    assert make_plans(ours, TASKS, config) == make_plans(ours, TASKS, free)


def test_soft_groups_weight_the_losses_by_membership() -> None:
    """A task is in every network where its membership reaches the threshold, and in the one that serves it."""
    membership = np.array([[0.9, 0.06, 0.04], [0.6, 0.4, 0], [1, 0, 0], [0.3, 0.7, 0], [0, 1, 0], [0.34, 0.33, 0.33]])
    labels = np.array([0, 0, 0, 1, 1, 2])  # the last is not served where its membership is largest
    ours = Groups.from_labels(NAMES, labels, "budget", membership=membership)
    config = set_values(CONFIG, ["retrain.plans=[ours, ours_soft]", "retrain.membership_above=0.05"])
    plans = make_plans(ours, TASKS, config)
    specs = {spec.group: spec for spec in network_specs(plans, config) if spec.plan == "ours_soft"}
    assert specs[0].tasks == ("t0", "t1", "t2", "t3", "t5")
    assert specs[0].weights == (0.9, 0.6, 1, 0.3, 0.34)
    assert specs[1].tasks == ("t0", "t1", "t3", "t4", "t5")
    assert specs[2].tasks == ("t5",)
    assert specs[2].weights is None, "one weight for all is none"
    soft = plans["ours_soft"].groups
    assert soft.serving == ours.serving
    assert soft.has_ensemble
    assert not plans["ours"].groups.has_ensemble
    weights = soft.serving_weights("ensemble")
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[0], [0.9 / 0.96, 0.06 / 0.96, 0])
    assert soft.serving_weights("argmax")[5].tolist() == [0, 0, 1]
    assert specs[0].fingerprint(config) != replace(specs[0], weights=None).fingerprint(config)


ONE = Groups.from_labels(NAMES, np.zeros(6, int), "spectral")


def test_one_group_is_all_in_one_and_so_are_the_plans_made_from_it() -> None:
    config = set_values(CONFIG, ["retrain.plans=[ours, ours_soft, ours_and_all, random]"])
    assert list(make_plans(ONE, TASKS, config)) == ["all_in_one"]


def test_beside_one_group_the_plans_of_its_cost_take_two_networks() -> None:
    plans = "retrain.plans=[ours, all_in_one_equal_cost, all_in_one_ensemble]"
    config = set_values(CONFIG, [plans, "retrain.epochs=5", "retrain.seeds=1"])
    made = make_plans(ONE, TASKS, config)
    assert {name: (len(plan.groups.groups), plan.epochs) for name, plan in made.items()} == {
        "all_in_one": (1, 5),
        "all_in_one_equal_cost": (1, 10),
        "all_in_one_ensemble": (2, 5),
    }
    fingerprints = {spec.fingerprint(config) for spec in network_specs(made, config)}
    assert len(fingerprints) == 3, "one network of the ensemble is all-in-one's"


def test_with_auto_the_epochs_beside_one_group_are_twice_those_of_all_in_one() -> None:
    plans = ["retrain.plans=[ours, all_in_one_equal_cost]", "retrain.start=both"]
    config = set_values(CONFIG, [*plans, "retrain.epochs=auto", "retrain.seeds=1"])
    made = make_plans(ONE, TASKS, config)
    first = list(network_specs(made, config, "a digest"))
    assert {spec.plan for spec in first} == {"all_in_one", "all_in_one_profiled"}
    spent = {("all_in_one", 0): 31, ("all_in_one_profiled", 0): 12}
    later = [spec for spec in network_specs(made, config, "a digest", spent) if spec not in first]
    assert {spec.plan: spec.epochs for spec in later} == {
        "all_in_one_equal_cost": 62,
        "all_in_one_equal_cost_profiled": 24,
    }


def test_no_plans_is_a_choice_and_known_groups_must_be_known() -> None:
    assert make_plans(OURS, TASKS, set_values(CONFIG, ["retrain.plans=[]"])) == {}
    with pytest.raises(InputError, match="no known groups"):
        make_plans(OURS, tuple(Task(name) for name in NAMES), CONFIG)


def test_with_auto_the_epochs_at_equal_cost_are_those_that_ours_spent() -> None:
    settings = ["retrain.plans=[ours, all_in_one_equal_cost]", "retrain.epochs=auto", "retrain.start=both"]
    config = set_values(CONFIG, [*settings, "retrain.seeds=2"])
    plans = make_plans(OURS, TASKS, config)
    first = list(network_specs(plans, config, "a digest"))
    assert {spec.epochs for spec in first} == {"auto"}
    assert not any(spec.plan.startswith("all_in_one_equal_cost") for spec in first)
    spent = {("ours", 0): 31, ("ours", 1): 40, ("ours_profiled", 1): 12}
    later = [spec for spec in network_specs(plans, config, "a digest", spent) if spec not in first]
    assert {(spec.plan, spec.seed): spec.epochs for spec in later} == {
        ("all_in_one_equal_cost", 0): 31,
        ("all_in_one_equal_cost", 1): 40,
        ("all_in_one_equal_cost_profiled", 1): 12,
    }


def test_all_in_one_at_equal_cost_has_the_epochs_of_all_networks_of_ours() -> None:
    config = set_values(CONFIG, ["retrain.plans=[ours, all_in_one, all_in_one_equal_cost]", "retrain.epochs=5"])
    plans = make_plans(OURS, TASKS, config)
    assert {name: plan.epochs for name, plan in plans.items()} == {
        "ours": 5,
        "all_in_one": 5,
        "all_in_one_equal_cost": 15,
    }
    assert next(network_specs(plans, config)).plan == "all_in_one_equal_cost", "the longest comes first"


def test_plans_that_predict_together_are_titled_so() -> None:
    bases = [base for base in get_args(PlanName) if base not in ("searched", "greedy", "known")]
    config = set_values(CONFIG, [f"retrain.plans=[{', '.join(bases)}]"])
    for name, plan in make_plans(OURS, TASKS, config).items():
        assert (plan_of_name(name).base in TOGETHER) == (plan.servings == ["ensemble"]), name


def test_an_ensemble_of_all_tasks_has_as_many_networks_as_ours_which_differ_in_their_draws() -> None:
    config = set_values(CONFIG, ["retrain.plans=[ours, all_in_one, all_in_one_ensemble]", "retrain.seeds=2"])
    plans = make_plans(OURS, TASKS, config)
    groups = plans["all_in_one_ensemble"].groups
    assert groups.groups == [NAMES] * 3
    np.testing.assert_allclose(groups.serving_weights("ensemble"), 1 / 3)
    specs = {(s.plan, s.group, s.seed): s.fingerprint(config) for s in network_specs(plans, config)}
    own = {key: value for key, value in specs.items() if key[0] == "all_in_one_ensemble"}
    assert len(own) == len(set(own.values())) == 3 * 2, "no network counts twice, in no training"
    for seed in (config.seed, config.seed + 1):
        assert own["all_in_one_ensemble", 0, seed] == specs["all_in_one", 0, seed], "and none is trained twice"


def test_smaller_ensembles_are_in_the_whole_one_and_train_nothing_more() -> None:
    config = set_values(CONFIG, ["retrain.plans=[ours, all_in_one_ensemble]", "retrain.seeds=2", "retrain.start=both"])
    names = [f"t{t}" for t in range(9)]
    plans = make_plans(
        Groups.from_labels(names, np.arange(9), "spectral"), tuple(Task(name, group="one") for name in names), config
    )
    sizes = {name: len(plan.groups.groups) for name, plan in plans.items() if name.startswith("all_in_one_ensemble")}
    assert sizes == {
        f"all_in_one_ensemble{copies}{start}": size
        for start in ("", "_profiled")
        for copies, size in (("", 9), ("_2", 2), ("_4", 4))
    }
    np.testing.assert_allclose(plans["all_in_one_ensemble_4"].groups.serving_weights("ensemble"), 1 / 4)
    specs = list(network_specs(plans, config, "a digest"))
    prints = {(s.plan, s.group, s.seed): s.fingerprint(config) for s in specs}
    for (name, group, seed), own in prints.items():
        if (plan := plan_of_name(name)).copies is not None:
            assert own == prints[plan.beside("all_in_one_ensemble"), group, seed]
    of_three = make_plans(OURS, TASKS, set_values(CONFIG, ["retrain.plans=[all_in_one_ensemble]"]))
    assert list(of_three) == ["all_in_one_ensemble"], "two of three would save little"


def test_ours_averaged_with_a_network_of_all_tasks_trains_nothing_more() -> None:
    config = set_values(CONFIG, ["retrain.plans=[ours, all_in_one, ours_and_all]", "retrain.seeds=2"])
    plans = make_plans(OURS, TASKS, config)
    groups = plans["ours_and_all"].groups
    assert groups.groups == [*OURS.groups, NAMES]
    weights = groups.serving_weights("ensemble")
    assert weights[4].tolist() == [0, 0.5, 0, 0.5]
    assert weights[5].tolist() == [0, 0, 0.5, 0.5]
    specs = {(s.plan, s.group, s.seed): s.fingerprint(config) for s in network_specs(plans, config)}
    for seed in (config.seed, config.seed + 1):
        assert specs["ours_and_all", 3, seed] == specs["all_in_one", 0, seed]
        assert all(specs["ours_and_all", g, seed] == specs["ours", g, seed] for g in range(3))


def test_plans_from_the_profiled_network_instead_of_or_beside_those_from_scratch() -> None:
    plans = ["retrain.plans=[ours, random]", "retrain.random_groups=1"]
    starts = {}
    for start in ("scratch", "profiled", "both"):
        config = set_values(CONFIG, [*plans, f"retrain.start={start}"])
        specs = network_specs(make_plans(OURS, TASKS, config), config, "digest")
        starts[start] = {spec.plan: spec.start for spec in specs}
    assert starts["scratch"] == {"ours": None, "random_0": None}
    assert starts["profiled"] == {"ours": "digest", "random_0": "digest"}
    assert starts["both"] == starts["scratch"] | {"ours_profiled": "digest", "random_0_profiled": "digest"}


def test_the_largest_networks_come_first() -> None:
    sizes = [len(spec.tasks) for spec in network_specs(make_plans(OURS, TASKS, CONFIG), CONFIG)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == (3 + 1 + 3 + 3 + 6 + 2) * CONFIG.retrain.seeds


def test_the_learning_rate_of_networks_from_the_profile_is_theirs_alone() -> None:
    spec = NetworkSpec("ours", 0, ("t0", "t1"), 0, 0, 6)
    changed = set_values(CONFIG, ["retrain.profiled_lr=0.5"])
    assert spec.fingerprint(changed) == spec.fingerprint(CONFIG)
    warm = replace(spec, start="a digest")
    assert warm.fingerprint(changed) != warm.fingerprint(CONFIG)


def test_a_network_knows_what_it_was_trained_on() -> None:
    spec = NetworkSpec("ours", 0, ("t0", "t1"), 0, 0, 6)
    same = set_values(CONFIG, ["grouping.groups=3", "retrain.plans=[ours]", "affinity.samples=9", "retrain.seeds=5"])
    assert spec.fingerprint(same) == spec.fingerprint(CONFIG)
    for change in ({"epochs": 3}, {"weights": (1.0, 0.5)}, {"start": "a digest"}, {"start": "another"}, {"draws": 1}):
        assert replace(spec, **change).fingerprint(CONFIG) != spec.fingerprint(CONFIG)
    for setting in ("retrain.batch_size=3", "model.width=9", "data.limit=99", "seed=4"):
        assert spec.fingerprint(set_values(CONFIG, [setting])) != spec.fingerprint(CONFIG)
    assert NetworkSpec("ours", 0, ("t0", "t2"), 0, 0, 6).fingerprint(CONFIG) != spec.fingerprint(CONFIG)


def test_branches_is_one_network_with_a_branch_for_the_tasks_that_each_group_serves() -> None:
    members = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]], dtype=bool)
    ours = Groups.from_labels(NAMES, np.array([0, 1, 1, 1, 0, 2]), "budget", members=members)
    config = set_values(CONFIG, ["retrain.plans=[ours, branches]", "retrain.start=both", "retrain.seeds=1"])
    plans = make_plans(ours, TASKS, config)
    specs = {spec.plan: spec for spec in network_specs(plans, config, "digest") if spec.plan.startswith("branches")}
    spec = specs["branches"]
    assert (spec.tasks, spec.branches) == (("t0", "t4", "t1", "t2", "t3", "t5"), (2, 3, 1))
    assert plans["branches"].groups.serving == dict.fromkeys(NAMES, 0)
    assert NetworkSpec.from_dict(spec.to_dict()) == spec
    halves = set_values(config, ["retrain.shared_layers=0.7"])
    assert spec.fingerprint(halves) != spec.fingerprint(config)
    others = [spec for spec in network_specs(plans, config) if not spec.branches]
    assert all(other.fingerprint(halves) == other.fingerprint(config) for other in others)
    frozen = set_values(config, ["retrain.freeze_shared=true"])
    profiled = specs["branches_profiled"]
    assert spec.fingerprint(frozen) == spec.fingerprint(config), "from scratch nothing is frozen"
    assert profiled.fingerprint(frozen) != profiled.fingerprint(config)
    with pytest.raises(InputError, match="freeze_shared keeps layers as they are in the profile"):
        set_values(frozen, ["retrain.start=scratch"])
