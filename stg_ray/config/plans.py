"""The plans that a configuration trains, by the names they have in plans/ and in results.parquet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from stg_ray.config.retraining import PlanName, RetrainConfig

_PROFILED = "_profiled"
"""Ends the name of a plan whose networks start from the profile, where the plan is trained from scratch too."""

TITLES: dict[PlanName, str] = {
    "ours": "ours",
    "searched": "searched",
    "ours_soft": "ours, soft",
    "ours_and_all": "ours + all",
    "branches": "branches",
    "all_in_one": "all in one",
    "all_in_one_equal_cost": "one, equal cost",
    "all_in_one_ensemble": "all in one",
    "random": "random groups",
    "single_task": "single task",
    "known": "known groups",
    "greedy": "greedy",
}
"""Plans in tables and texts, in their order in the tables."""

SMALLER_ENSEMBLES = tuple(2**k for k in range(1, 9))
"""Networks of the smaller ensembles in all_in_one_ensemble, where it has at least twice as many."""

TOGETHER: tuple[PlanName, ...] = ("all_in_one_ensemble", "ours_and_all", "greedy")
"""Plans whose networks predict together, and not one by one."""


@dataclass(frozen=True)
class TrainedPlan:
    """A plan as it is trained.

    Attributes:
        name: unique among the plans of a run, such as `ours`, `random_0` or `ours_profiled`.
        base: the plan in `retrain.plans` that it comes from.
        draw: number of the draw of random groups; None for other plans, and for all draws together.
        profiled: whether its networks start from the profiled network.
        beside_scratch: whether it is trained from scratch too (`retrain.start: both`): its name tells which it is.
        copies: number of the networks of all_in_one_ensemble that it has, the first of them; None for all plans else.
    """

    name: str
    base: PlanName
    draw: int | None = None
    profiled: bool = False
    beside_scratch: bool = False
    copies: int | None = None

    @property
    def of_all_draws(self) -> TrainedPlan:
        """The plan whose draws this is one of; itself if it is not drawn."""
        return self if self.draw is None else _named(self.base, None, self.profiled, self.beside_scratch)

    def beside(self, base: PlanName) -> str:
        """Return the name of another plan that starts as this one does."""
        return _named(base, None, self.profiled, self.beside_scratch).name

    def title(self, *, is_ensemble: bool = False) -> str:
        """Return the title of the plan; it names the start where the plan is trained from both.

        Args:
            is_ensemble: whether its networks predict together, where they may do either.
        """
        together = " ensemble" if is_ensemble or self.base in TOGETHER else ""
        draw = "" if self.draw is None else f", draw {self.draw}"
        copies = "" if self.copies is None else f", {self.copies}"
        return TITLES[self.base] + together + draw + copies + (", from profile" if self.beside_scratch else "")


def trained_plans(config: RetrainConfig) -> dict[str, TrainedPlan]:
    """Return the plans that may be trained, by name, in the order of `retrain.plans`; first those from scratch.

    What is trained depends on the groups too: where ours are a single group, `all_in_one` stands for them (so it is
    among these plans, the last of its start, whether it is asked for or not), and there are no plans made from theirs;
    smaller ensembles have at most half of the networks of all_in_one_ensemble, which are as many as our groups.
    """
    bases = list(config.plans)
    if "ours" in bases and "all_in_one" not in bases:
        bases.append("all_in_one")
    plans = [
        _named(base, number, profiled=config.start == "profiled", beside_scratch=False)
        for base in bases
        for number in _numbers(base, config)
    ]
    if config.start == "both":
        plans += [
            replace(plan, name=plan.name + _PROFILED, profiled=True, beside_scratch=True)
            for plan in plans
            if plan.base != "greedy"  # selects from the networks of either start
        ]
    return {plan.name: plan for plan in plans}


def _numbers(base: PlanName, config: RetrainConfig) -> Iterable[int | None]:
    """Return the numbers in the names of the plans that come from one in `retrain.plans`; None is a name without."""
    if base == "random":
        return range(config.random_groups)
    return (None, *SMALLER_ENSEMBLES) if base == "all_in_one_ensemble" else (None,)


def _named(base: PlanName, number: int | None, profiled: bool, beside_scratch: bool) -> TrainedPlan:
    name = (base if number is None else f"{base}_{number}") + _PROFILED * beside_scratch
    draw, copies = (number, None) if base == "random" else (None, number)
    return TrainedPlan(name, base, draw, profiled, beside_scratch, copies)


def plan_of_name(name: str) -> TrainedPlan:
    """Return the plan of a name in plans/ and in the tables of a run, as far as the name tells.

    Example:
        >>> plan_of_name("random_1_profiled").title()
        'random groups, draw 1, from profile'
    """
    start, beside_scratch = name.removesuffix(_PROFILED), name.endswith(_PROFILED)
    stem, _, digits = start.rpartition("_")
    base, number = (stem, int(digits)) if digits.isdigit() else (start, None)
    return _named(cast("PlanName", base), number, beside_scratch, beside_scratch)
