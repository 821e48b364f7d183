"""What to deploy is chosen on validation rows: the best, or the cheapest of those that cannot be told from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.data.parts import PartIndex, index_of
from stg_ray.retraining.budget import allowed, allows_one, broken_plans, most_of_greedy
from stg_ray.retraining.choice import choose
from stg_ray.retraining.plans import Plan
from stg_ray.retraining.specs import NetworkSpec

NETWORKS = {"ours": 2, "all_in_one": 1, "all_in_one_ensemble": 2, "random_0": 2, "random_1": 2} | {
    f"all_in_one_ensemble_{n}": n for n in (4, 8, 16)
}


@pytest.fixture
def index(make_task_set: Callable[..., sr.TaskSet]) -> PartIndex:
    return index_of(make_task_set(blocks=(2, 2)))


def tables(
    index: PartIndex, validation: Mapping[tuple[str, str], list[float]], seeds: int = 2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and costs of plans by their validation scores of the four tasks; of test rows it is the other way."""
    results = [
        (
            plan,
            0,
            task,
            split,
            serving,
            "average_precision",
            (score if split == "val" else 1 - score) + 0.001 * seed,
            seed,
        )
        for (plan, serving), scores in validation.items()
        for task, score in zip(index.names, scores, strict=True)
        for split in ("val", "test")
        for seed in range(seeds)
    ]
    columns = ["plan", "group", "task", "split", "serving", "metric", "value", "seed"]
    costs = [
        (plan, group, seed, 10, 1.0)
        for plan in {plan for plan, _ in validation}
        for group in range(NETWORKS[plan])
        for seed in range(seeds)
    ]
    return pd.DataFrame(results, columns=columns), pd.DataFrame(
        costs, columns=["plan", "group", "seed", "cost", "seconds"]
    )


def chosen(index: PartIndex, validation: Mapping[tuple[str, str], list[float]], **kwargs: Any) -> dict[str, Any]:
    found = choose(*tables(index, validation, **kwargs), index, set())
    assert found is not None
    return found


def test_a_plan_that_is_clearly_better_is_chosen_whatever_it_costs(index: PartIndex) -> None:
    found = chosen(index, {("all_in_one", "argmax"): [0.5, 0.6, 0.7, 0.8], ("ours", "argmax"): [0.6, 0.7, 0.8, 0.91]})
    assert (found["plan"], found["serving"], found["networks"]) == ("ours", "argmax", 2)
    assert found["seed"] == 1, "the training with the best score"
    assert found["validation"] == pytest.approx(0.7525 + 0.0005)
    assert found["test"] == pytest.approx(0.2475 + 0.001), "of the chosen training"
    assert "no other plan" in found["why"]


def test_plans_that_break_the_budget_are_left_out(index: PartIndex) -> None:
    scores = {("all_in_one", "argmax"): [0.8, 0.8, 0.8, 0.9], ("ours", "argmax"): [0.6, 0.6, 0.72, 0.8]}
    groups = Groups.from_labels(index.names, np.array([0, 0, 1, 1]), "budget")
    together = Groups.from_labels(index.names, np.zeros(4, dtype=int), "one")
    plans = {"ours": Plan(groups, 1), "all_in_one": Plan(together, 1), "not trained": Plan(together, 1)}
    budget = {"networks": 2, "max_size": 3}
    config = sr.load_config({"data": {"preset": "digits"}})
    assert broken_plans(config, plans) == {}
    assert chosen(index, scores)["plan"] == "all_in_one"
    grouping = {"method": "budget", "groups": "auto", "budget": budget}
    broken = broken_plans(sr.load_config({"data": {"preset": "digits"}, "grouping": grouping}), plans)
    found = choose(*tables(index, scores), index, set(), broken=broken)
    assert found is not None
    assert found["plan"] == "ours"
    config = sr.load_config({"data": {"preset": "digits"}, "grouping": grouping})
    assert not allows_one(config, index.names)
    assert most_of_greedy(config, groups) == 2
    names = [tuple(index.names[:2]), tuple(index.names), tuple(index.names[1:])]
    specs = [NetworkSpec("ours", n, tasks, 0, 0, 1) for n, tasks in enumerate(names)]
    assert allowed(config, index.names, specs) == [specs[0], specs[2]]
    assert broken.keys() == {"all_in_one", "not trained"}
    assert found["why"].endswith(
        "; left out, since grouping.budget does not allow them: 'all in one' (a network of 4 tasks, and 1 to 3 are "
        "allowed)"
    )
    assert [each["plan"] for each in found["candidates"]] == ["ours"]
    assert choose(*tables(index, scores), index, set(), broken=dict.fromkeys(plans, "")) is None


def test_within_a_standard_error_the_cheapest_to_serve_is_chosen(index: PartIndex) -> None:
    found = chosen(index, {("all_in_one", "argmax"): [0.5, 0.7, 0.7, 0.8], ("ours", "argmax"): [0.6, 0.6, 0.72, 0.8]})
    assert found["plan"] == "all_in_one"
    assert "cheapest to serve of the 2 plans" in found["why"]
    best, other = found["candidates"]
    assert (best["plan"], best["behind"], best["error"]) == ("ours", 0, 0)
    difference = np.array([0.1, -0.1, 0.02, 0.0])
    assert other["behind"] == pytest.approx(difference.mean())
    assert other["error"] == pytest.approx(difference.std(ddof=1) / 2)


@pytest.mark.parametrize(
    ("costs", "better"),
    [((1.0, 1.2, 1.0), True), ((1.0, 2.0, 1.0), False), ((1.9, 2.0, 1.35), True)],
    ids=["about the same", "twice as much", "whatever those cost that need more networks"],
)
def test_of_plans_that_serve_alike_the_cheaper_is_chosen_and_of_those_that_cost_the_same_the_better(
    index: PartIndex, costs: tuple[float, float, float], *, better: bool
) -> None:
    plans = {"all_in_one": [0.5, 0.7, 0.7, 0.8], "all_in_one_equal_cost": [0.6, 0.6, 0.72, 0.8]}
    plans["ours"] = [0.7, 0.5, 0.7, 0.73]  # of two networks
    results, _ = tables(index, {}, seeds=1)
    rows = [
        (plan, 0, task, split, "argmax", "average_precision", score, 0)
        for plan, scores in plans.items()
        for task, score in zip(index.names, scores, strict=True)
        for split in ("val", "test")
    ]
    spent = [(plan, 0, 0, cost, 1.0) for plan, cost in zip(plans, costs, strict=True)] + [("ours", 1, 0, 0.0, 1.0)]
    found = choose(
        pd.DataFrame(rows, columns=results.columns),
        pd.DataFrame(spent, columns=["plan", "group", "seed", "cost", "seconds"]),
        index,
        set(),
    )
    assert found is not None
    assert "of the 3 plans within one standard error" in found["why"]
    assert found["plan"] == ("all_in_one_equal_cost" if better else "all_in_one")


def test_plans_are_counted_and_named_as_in_the_tables(index: PartIndex) -> None:
    """Draws of random groups are one plan."""
    scores = {
        ("all_in_one", "argmax"): [0.5, 0.7, 0.7, 0.8],
        ("ours", "argmax"): [0.5, 0.7, 0.7, 0.8],
        ("random_0", "argmax"): [0.55, 0.65, 0.7, 0.8],
        ("random_1", "argmax"): [0.6, 0.6, 0.72, 0.8],
    }
    found = chosen(index, scores)
    assert found["plan"] == "all_in_one"
    assert len(found["candidates"]) == 4
    assert found["why"] == (
        "the cheapest to serve of the 3 plans within one standard error of the best on validation rows, 'random "
        "groups, draw 1', which is 0.0050 better there"
    )
    draws = {plan: of_plan for plan, of_plan in scores.items() if plan[0].startswith("random")}
    assert chosen(index, draws)["why"] == "there is no other plan to choose from"
    clear = {("all_in_one", "argmax"): [0.9, 0.9, 0.9, 0.9], ("ours", "argmax"): [0.5, 0.5, 0.5, 0.5]}
    assert chosen(index, clear)["why"].startswith("no other plan comes within one standard error")


def test_networks_that_predict_together_are_a_candidate_of_their_own(index: PartIndex) -> None:
    scores = {
        ("ours", "argmax"): [0.5, 0.5, 0.5, 0.5],
        ("ours", "ensemble"): [0.6, 0.6, 0.6, 0.6],
        ("all_in_one_ensemble", "ensemble"): [0.55, 0.55, 0.55, 0.55],
    }
    found = chosen(index, scores)
    assert (found["plan"], found["serving"]) == ("ours", "ensemble")
    assert len(found["candidates"]) == 3


def test_an_ensemble_has_as_many_networks_as_tell_apart(index: PartIndex) -> None:
    scores = {
        ("all_in_one", "argmax"): [0.50, 0.51, 0.49, 0.50],
        ("all_in_one_ensemble_4", "ensemble"): [0.60, 0.61, 0.61, 0.60],
        ("all_in_one_ensemble_8", "ensemble"): [0.62, 0.67, 0.64, 0.66],
        ("all_in_one_ensemble_16", "ensemble"): [0.65, 0.65, 0.65, 0.65],
    }
    found = chosen(index, scores)
    assert (found["plan"], found["networks"]) == ("all_in_one_ensemble_8", 8)
    assert found["why"] == (
        "the cheapest to serve of the 2 plans within one standard error of the best on validation rows, 'all in one "
        "ensemble, 16', which is 0.0025 better there"
    )


def test_test_rows_have_no_say(index: PartIndex) -> None:
    results, costs = tables(index, {("all_in_one", "argmax"): [0.5] * 4, ("ours", "argmax"): [0.6] * 4})
    before = choose(results, costs, index, set())
    is_test = results["split"] == "test"
    results.loc[is_test, "value"] = np.random.default_rng(0).random(is_test.sum())
    after = choose(results, costs, index, set())
    assert before is not None
    assert after is not None
    assert {**before, "test": 0} == {**after, "test": 0}


def test_incomplete_trainings_and_tasks_without_a_score_are_left_out(index: PartIndex) -> None:
    scores = {("all_in_one", "argmax"): [0.5, 0.5, 0.5, np.nan], ("ours", "argmax"): [0.9, 0.9, 0.9, 0.1]}
    results, costs = tables(index, scores)
    found = choose(results, costs, index, {("ours", 1)})
    assert found is not None
    assert (found["plan"], found["seed"]) == ("ours", 0)
    assert found["validation"] == pytest.approx(0.9)


def test_a_task_counts_by_the_folds_in_which_it_has_a_score(index: PartIndex) -> None:
    scores = {("all_in_one", "argmax"): [0.5, 0.6, 0.7, 0.2], ("ours", "argmax"): [0.5, 0.6, 0.7, 0.9]}
    results, costs = tables(index, scores)
    last, of_fold = index.names[-1], (results["split"] == "val") & (results["seed"] == 1)
    results.loc[of_fold & (results["task"] == last), "value"] = np.nan
    found = choose(results, costs, index, set())
    assert found is not None
    by_plan = {candidate["plan"]: candidate["validation"] for candidate in found["candidates"]}
    assert by_plan["ours"] == pytest.approx((0.5 + 0.6 + 0.7 + 3 * 0.0005 + 0.9) / 4)
    assert by_plan["all_in_one"] == pytest.approx((0.5 + 0.6 + 0.7 + 3 * 0.0005 + 0.2) / 4)


def test_without_a_plan_or_a_score_nothing_is_chosen(index: PartIndex) -> None:
    results, costs = tables(index, {("ours", "argmax"): [np.nan] * 4})
    assert choose(results, costs, index, set()) is None
    assert choose(results[:0], costs[:0], index, set()) is None
