"""The first screen's words: an answer without numbers, one thing to do, a word for each comparison."""

from __future__ import annotations

import re
from itertools import product
from typing import get_args

import pytest

from stg_ray.config import PlanName, RetrainConfig
from stg_ray.config.plans import trained_plans
from stg_ray.report.comparison import Difference
from stg_ray.report.headline import SERVED, Outcome, _answer, _tile, action_of

NAN = float("nan")
PLANS = trained_plans(RetrainConfig(plans=list(get_args(PlanName)), start="both"))


def chosen(plan: str, networks: int, **candidates: tuple[int, float, float, float]) -> dict[str, object]:
    rows = [
        {"plan": name, "serving": "argmax", "networks": n, "cost": cost, "behind": behind, "error": error}
        for name, (n, cost, behind, error) in candidates.items()
    ]
    return {"plan": plan, "serving": "argmax", "networks": networks, "candidates": rows}


def test_every_plan_says_what_to_serve() -> None:
    assert set(SERVED) == set(get_args(PlanName))
    for name, plan in PLANS.items():
        if plan.base == "all_in_one_equal_cost":
            continue
        said = action_of(chosen(name, 3), PLANS)
        assert said.startswith("Serve ")
        assert "{" not in said


@pytest.mark.parametrize(
    ("behind", "networks", "said"),
    [
        (0.001, 4, "Train one network 4 times longer: same score, a quarter of the serving cost."),
        (0.0036, 4, "Train one network 4 times longer: same score, a quarter of the serving cost."),
        (0.1, 4, "Train one network 4 times longer: better score, a quarter of the serving cost."),
        (0.1, 7, "Train one network 4 times longer: better score, 1/7 of the serving cost."),
    ],
)
def test_longer_training_says_what_it_saves(behind: float, networks: int, said: str) -> None:
    what = chosen(
        "all_in_one_equal_cost",
        1,
        all_in_one_equal_cost=(1, 40.0, 0.0, 0.0),
        ours=(networks, 34.0, behind, 0.002),
        all_in_one=(1, 10.0, 0.2, 0.01),
    )
    assert action_of(what, PLANS) == said


def test_without_networks_the_comparison_comes_first() -> None:
    assert "retrain.plans" in action_of(None, PLANS)


def test_no_answer_has_numbers_and_green_needs_every_comparison() -> None:
    outcomes = get_args(Outcome)
    for one, longer, random in product(outcomes, repeat=3):
        text, outcome = _answer(one, longer, random)
        assert not re.search(r"\d", text)
        if outcome == "better":
            assert {one, longer, random} <= {"better", "none"}
        if "worse" in (one, longer, random):
            assert outcome == "worse"
    assert _answer("better", "better", "better") == (
        "Grouping helps, and it matters which tasks share a network.",
        "better",
    )
    assert _answer("better", "none", "none")[0] == "Grouping helps."
    assert _answer("none", "none", "none")[1] == "none", "nothing was compared"
    assert _answer("none", "none", "better")[0] == "It matters which tasks share a network."


@pytest.mark.parametrize(
    ("difference", "outcome", "word"),
    [
        (None, "none", "not compared"),
        (Difference(0.1, NAN, NAN, 1, 0), "open", "noise unknown"),
        (Difference(0.1, 0.05, 0.15, 9, 1, 0.001), "better", "clearly better"),
        (Difference(-0.1, -0.15, -0.05, 1, 9, 0.001), "worse", "clearly worse"),
        (Difference(0.1, 0.01, 0.19, 5, 4, 0.08), "open", "clear alone, not among all"),
        (Difference(0.1, -0.01, 0.19, 5, 4, 0.2), "open", "not clearly different"),
    ],
)
def test_each_comparison_has_a_word(difference: Difference | None, outcome: str, word: str) -> None:
    tile = _tile("against one network", ["ours"], difference)
    assert (tile.outcome, tile.word) == (outcome, word)
    assert bool(tile.advice) == (difference is None or not difference.is_known)
