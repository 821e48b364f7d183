"""The verdict says what is known, and what it would take to know the rest."""

from __future__ import annotations

from typing import get_args

from stg_ray.config import PlanName, RetrainConfig
from stg_ray.config.plans import TrainedPlan, trained_plans
from stg_ray.report.comparison import Difference
from stg_ray.report.words import DEPLOYED, deploy_sentence, search_sentence, verdict_sentences

NAN = float("nan")


def said(*compared: tuple[PlanName, Difference], where: str = "") -> str:
    pairs = [(TrainedPlan(name, name), difference) for name, difference in compared]
    return " ".join(verdict_sentences(pairs, where, n_compared=len(pairs)))


def test_better_and_worse_share_a_sentence() -> None:
    better, worse = Difference(0.1, 0.05, 0.15, 9, 1, 0.001), Difference(-0.1, -0.15, -0.05, 1, 9, 0.001)
    assert said(("all_in_one", better), ("random", worse)) == (
        "Our groups are better than all tasks in one network (+0.1000, 95 % interval +0.0500 to +0.1500); "
        "worse than random groups of the same sizes (-0.1000, 95 % interval -0.1500 to -0.0500)."
    )


def test_what_is_not_clear_is_not_called_equal() -> None:
    text = said(("all_in_one", Difference(0.01, -0.02, 0.04, 5, 4, 0.4, trainings=12)))
    assert text == (
        "These trainings do not tell our groups from all tasks in one network (+0.0100, 95 % interval -0.0200 to "
        "+0.0400; 12 trainings of each plan would tell as much)."
    )


def test_each_sentence_says_where_it_holds() -> None:
    where = "where all networks start from the profile"
    clear, not_clear = Difference(0.1, 0.05, 0.15, 9, 1, 0.001), Difference(0.01, -0.02, 0.04, 5, 4, 0.4)
    text = said(("random", clear), ("all_in_one", not_clear), ("all_in_one_equal_cost", not_clear), where=where)
    first, second = text.removesuffix(".").split(". ")
    assert first.startswith("Where all networks start from the profile, our groups are better than random groups of")
    told = "Where all networks start from the profile, these trainings do not tell our groups from all tasks in one"
    assert second.startswith(told)
    alone = said(("all_in_one", Difference(0.01, NAN, NAN, 5, 4)), where=where)
    assert alone.startswith("Where all networks start from the profile, so few trainings do not tell our groups from")


def test_what_is_clear_alone_and_not_among_several_is_said_so() -> None:
    close = Difference(0.01, 0.001, 0.02, 5, 4, 0.08)
    text = said(("all_in_one", close), ("random", Difference(0.0, -0.1, 0.1, 5, 5, 1.0)))
    assert "+0.0010 to +0.0200; clear alone, not as one of 2 comparisons), nor from random groups" in text


def test_single_trainings_ask_for_more() -> None:
    text = said(("all_in_one", Difference(0.01, NAN, NAN, 5, 4)))
    assert text.startswith("So few trainings do not tell our groups from all tasks in one network (+0.0100)")
    assert "retrain.seeds=3" in text


def test_what_to_deploy_is_said_with_its_scores() -> None:
    chosen = {"networks": 1, "serving": "argmax", "validation": 0.51, "test": 0.5, "why": "the cheapest of two"}
    plans = trained_plans(RetrainConfig(plans=["ours", "ours_soft", "all_in_one"], start="both"))
    assert deploy_sentence(chosen, plans["all_in_one"], 2) == (
        "Deploy one network of all tasks (1 network; 0.5100 on validation rows, 0.5000 on test rows): the cheapest of "
        "two."
    )
    assert "test rows" not in deploy_sentence({**chosen, "test": None}, plans["ours"], 2)
    soft = {**chosen, "networks": 4, "serving": "ensemble"}
    assert deploy_sentence(soft, plans["ours_soft_profiled"], 4).startswith(
        "Deploy our groups with soft weights, averaged, from the profile (4 networks; "
    )


def test_what_has_no_meaning_beside_one_group_is_said_otherwise() -> None:
    chosen = {"networks": 1, "serving": "argmax", "validation": 0.51, "test": 0.5, "why": "the best"}
    longer = trained_plans(RetrainConfig(plans=["ours", "all_in_one_equal_cost"]))["all_in_one_equal_cost"]
    assert "trained as long as ours together" in deploy_sentence(chosen, longer, 2)
    said = deploy_sentence(chosen, longer, 1)
    assert "trained for twice as many epochs" in said
    assert "ours" not in said


def test_every_plan_has_words() -> None:
    assert set(DEPLOYED) == set(get_args(PlanName))


def test_what_a_search_found_is_said_with_its_cost() -> None:
    long = [f"t{i}" for i in range(10)]
    search = {"networks": 30, "epochs": 4, "cost": 2.96, "groups": [long, ["a"]], "expected": 0.01, "error": 0.002}
    search["over_random"] = -0.0004
    assert search_sentence(search) == (
        "The search measured 30 groups in trainings of 4 epochs, together 3.0 times the training of its plan. Of its "
        "groups (t0, t1, t2, t3, t4, t5, t6, t7 and 2 more; a), trained as long, +0.0100 +- 0.0020 is expected on "
        "validation rows over one network of all tasks, and -0.0004 over random groups of the same sizes."
    )
