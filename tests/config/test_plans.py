"""Plans by their names: what a run directory names is what the configuration says."""

from __future__ import annotations

from typing import get_args

from stg_ray.config.plans import TrainedPlan, plan_of_name, trained_plans
from stg_ray.config.retraining import PlanName, RetrainConfig


def test_draws_of_random_groups_are_plans_of_one() -> None:
    plans = trained_plans(RetrainConfig(plans=["ours", "all_in_one", "random", "known"], random_groups=2))
    assert list(plans) == ["ours", "all_in_one", "random_0", "random_1", "known"]
    assert plans["random_1"] == TrainedPlan("random_1", "random", draw=1)
    assert plans["random_1"].of_all_draws == plans["random_0"].of_all_draws == TrainedPlan("random", "random")
    assert plans["ours"].of_all_draws is plans["ours"]


def test_a_name_tells_its_plan() -> None:
    """But for the start of all plans, which no name tells."""
    everything = RetrainConfig(plans=list(get_args(PlanName)), start="both", random_groups=11)
    assert {name: plan_of_name(name) for name in trained_plans(everything)} == trained_plans(everything)
    assert plan_of_name("random").title() == "random groups"
    assert plan_of_name("all_in_one_ensemble").title() == "all in one ensemble"
    assert plan_of_name("ours").title(is_ensemble=True) == "ours ensemble"


def test_the_start_is_in_the_name_where_a_plan_is_trained_from_both() -> None:
    asked = {"plans": ["all_in_one", "random"], "random_groups": 1}
    scratch = trained_plans(RetrainConfig(**asked))
    assert not any(plan.profiled for plan in scratch.values())
    profiled = trained_plans(RetrainConfig(**asked, start="profiled"))
    assert list(profiled) == list(scratch)
    assert all(plan.profiled and not plan.beside_scratch for plan in profiled.values())
    both = trained_plans(RetrainConfig(**asked, start="both"))
    assert list(both) == ["all_in_one", "random_0", "all_in_one_profiled", "random_0_profiled"]
    assert both["random_0_profiled"].of_all_draws == TrainedPlan("random_profiled", "random", None, True, True)


def test_one_network_of_all_tasks_may_stand_for_our_groups() -> None:
    assert list(trained_plans(RetrainConfig(plans=["ours", "random"], random_groups=1))) == [
        "ours",
        "random_0",
        "all_in_one",
    ]
    assert list(trained_plans(RetrainConfig(plans=["single_task"]))) == ["single_task"]
    assert trained_plans(RetrainConfig(plans=[])) == {}
