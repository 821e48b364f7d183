"""The answer of a run in one line without numbers, what to do, and three comparisons in a word each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stg_ray.config import PlanName
from stg_ray.config.plans import TrainedPlan
from stg_ray.report.comparison import Difference
from stg_ray.report.summary import Summary

Outcome = Literal["better", "worse", "open", "none"]
"""Of a comparison: better, worse, not clear, or not made."""

SHARES = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth", 6: "a sixth", 8: "an eighth", 10: "a tenth"}

CLEAR = 2.0
"""Standard errors by which one score is called better than another."""

TILES: tuple[tuple[PlanName, str], ...] = (
    ("all_in_one", "against one network"),
    ("all_in_one_equal_cost", "against equal cost"),
    ("random", "against random groups"),
)
"""The comparisons of the first screen: did grouping help, more than longer training, and because of the groups?"""

SERVED: dict[PlanName, str] = {
    "ours": "Serve these {n} networks",
    "searched": "Serve the {n} networks that the search found",
    "ours_soft": "Serve these {n} networks, with soft weights",
    "ours_and_all": "Serve these {n} networks, each averaged with one of all tasks",
    "branches": "Serve one network with a branch for each of these groups",
    "all_in_one": "Serve one network for all tasks",
    "all_in_one_equal_cost": "Train one network longer and serve it",
    "all_in_one_ensemble": "Serve {n} networks of all tasks that predict together",
    "random": "Serve {n} networks of random groups: they did best on validation rows",
    "single_task": "Serve a network for each task",
    "known": "Serve the {n} networks of the known groups",
    "greedy": "Serve the {n} networks that were selected from all plans",
}
"""What to do, by the plan that was chosen."""


@dataclass(frozen=True)
class Tile:
    """One comparison of ours.

    Attributes:
        title: what ours is compared to.
        difference: None where that was not trained.
        word: the outcome in words.
        advice: what to do for this comparison to be made; empty where it was.
    """

    title: str
    difference: Difference | None
    outcome: Outcome
    word: str
    advice: str = ""


@dataclass(frozen=True)
class Headline:
    """The answer of a run.

    Attributes:
        text: one line without numbers.
        outcome: better, worse or open, which colours it; none where nothing was compared.
        action: what to do.
    """

    text: str
    outcome: Outcome
    action: str


def tiles_of(summary: Summary) -> list[Tile]:
    """Return the comparisons of the first screen, among the plans that start from scratch where there are such."""
    trained = {row.plan.base for row in summary.plans}
    tiles = []
    for base, title in TILES:
        missing = [plan for plan in ("ours", base) if plan not in trained and len(summary.groups.groups) > 1]
        tiles.append(_tile(title, missing, _against(summary, base)))
    return tiles


def headline_of(summary: Summary, chosen: Mapping[str, Any] | None, plans: Mapping[str, TrainedPlan]) -> Headline:
    """Return the answer of a run.

    Args:
        chosen: content of chosen.json; None where nothing was chosen.
        plans: of the run, by name.
    """
    action = action_of(chosen, plans)
    if len(summary.groups.groups) == 1:
        # Nothing more is known: what groups would do was not measured.
        looked = summary.groups.was_looked_for
        return Headline(
            "No groups were found among the tasks." if looked else "All tasks are one group.", "none", action
        )
    one, longer, random = (tile.outcome for tile in tiles_of(summary))
    known = [d.is_known for base, _ in TILES if (d := _against(summary, base)) is not None]
    if known and not any(known):
        return Headline("Too few trainings to tell whether grouping helps.", "open", action)
    text, outcome = _answer(one, longer, random)
    return Headline(text, outcome, action)


def _answer(one: Outcome, longer: Outcome, random: Outcome) -> tuple[str, Outcome]:
    """The answer by the outcomes against one network, against one of equal cost, and against random groups."""
    if "worse" in (one, longer):
        return "One network for all tasks does better than these groups.", "worse"
    if random == "worse":
        return "Random groups do better than these.", "worse"
    if one == "open":
        return "These groups are not clearly better than one network.", "open"
    if longer == "open":
        return "Grouping helps, but longer training may help as much.", "open"
    if random == "open":
        return "Several networks help; which tasks share one may not matter.", "open"
    if random == "better":
        helps = "better" in (one, longer)
        return f"{'Grouping helps, and it' if helps else 'It'} matters which tasks share a network.", "better"
    if "better" in (one, longer):
        return "Grouping helps.", "better"
    return "The tasks fall into groups; no networks were trained to compare.", "none"


def action_of(chosen: Mapping[str, Any] | None, plans: Mapping[str, TrainedPlan]) -> str:
    """Say what to do: which networks to serve, or what to train first."""
    if chosen is None:
        return "Train the comparison first: set retrain.plans=[ours,all_in_one,random]."
    n, base = chosen["networks"], plans[chosen["plan"]].base
    if base == "all_in_one_equal_cost":
        return _longer(chosen, plans)
    if base == "single_task" or n > 1:
        return SERVED[base].format(n=n) + "."
    return SERVED["branches" if base == "branches" else "all_in_one"] + "."


def _longer(chosen: Mapping[str, Any], plans: Mapping[str, TrainedPlan]) -> str:
    """Say how much longer one network is to be trained, and what that gains beside serving ours."""
    candidates = {(each["plan"], each["serving"]): each for each in chosen["candidates"]}
    own = candidates[chosen["plan"], chosen["serving"]]
    once = next((each for (plan, _), each in candidates.items() if plans[plan].base == "all_in_one"), None)
    times = round(own["cost"] / once["cost"]) if once is not None and once["cost"] else 0
    longer = f"Train one network {times} times longer" if times > 1 else "Train one network longer"
    ours = next((each for (plan, _), each in candidates.items() if plans[plan].base == "ours"), None)
    if ours is None or ours["networks"] < 2:
        return f"{longer}."
    is_same = abs(own["behind"] - ours["behind"]) <= CLEAR * max(own["error"], ours["error"])
    n = ours["networks"]
    return f"{longer}: {'same' if is_same else 'better'} score, {SHARES.get(n, f'1/{n}')} of the serving cost."


def _against(summary: Summary, base: PlanName) -> Difference | None:
    return next((summary.against[name] for name in (base, f"{base}_profiled") if name in summary.against), None)


def _tile(title: str, missing: Sequence[str], d: Difference | None) -> Tile:
    """The tile of a comparison, for which these plans are missing."""
    if d is None:
        advice = f"add {' and '.join(missing)} to retrain.plans" if missing else ""
        return Tile(title, None, "none", "not compared", advice)
    if not d.is_known:
        return Tile(title, d, "open", "noise unknown", "set retrain.seeds=3")
    if d.is_clear:
        return Tile(title, d, "better" if d.mean > 0 else "worse", f"clearly {'better' if d.mean > 0 else 'worse'}")
    if d.low > 0 or d.high < 0:
        return Tile(title, d, "open", "clear alone, not among all")
    return Tile(title, d, "open", "not clearly different")
