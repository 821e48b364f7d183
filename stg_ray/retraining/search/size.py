"""The size of a search: how many networks it measures, for how long, what that costs, and whether it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stg_ray.config import Config
from stg_ray.errors import InputError
from stg_ray.retraining.plans import conditions_of
from stg_ray.shown import ranged

FINAL_LENGTH = 0.5
"""Length of the trainings of finalists, as a share of a plan's: from scratch it takes half of a training to tell which
groups are better (jobs/bench/short_trainings.py)."""

MOST_NETWORKS = 20_000
"""More short trainings than anybody waits for, nor the surrogate has memory for."""

SHARE_OF_FINALS = 0.5
"""Share of the cost that finalists may take."""


@dataclass(frozen=True)
class Size:
    """The size of a search.

    Attributes:
        fewest: number of groups of a partition at least.
        groups: number of groups of a partition at most.
        networks: number of networks to measure at most, that of all tasks among them; with one partition at least.
        epochs: of each.
        finalists: partitions of which the best is found by longer trainings; 0: there are none.
        final_epochs: of each of their networks, and of one of all tasks.
        epochs_of_plan: of a plan's networks, as far as they are known.
    """

    fewest: int
    groups: int
    networks: int
    epochs: int
    finalists: int
    final_epochs: int
    epochs_of_plan: int

    @classmethod
    def of(cls, config: Config, ours: int, epochs: int, tasks: Sequence[str]) -> Size:
        """Return the size of a run's search.

        Args:
            config: of the run.
            ours: number of our groups.
            epochs: of a plan's networks, as far as they are known.
            tasks: their names.

        Raises:
            InputError: `grouping.budget` allows no such number of groups.
        """
        (fewest, groups), search = _numbers_of_groups(config, ours, tasks), config.search
        short, final = max(1, round(search.length * epochs)), max(1, round(FINAL_LENGTH * epochs))
        finalists = min(search.finalists, int(SHARE_OF_FINALS * search.cost * epochs / final))
        if finalists < 2 or final <= short:  # one has nothing to be compared with
            finalists = 0
        finals = (finalists * groups + 1) * final if finalists else 0
        networks = max(1 + groups, int((search.cost * groups * epochs - finals) / short))
        return cls(fewest, groups, networks, short, finalists, final, epochs)

    @property
    def cost(self) -> float:
        """Cost of all networks, in trainings of a plan with the most groups."""
        return self.cost_of(self.networks, self.n_finals)

    @property
    def n_finals(self) -> int:
        """Number of networks of finalists at most, and of the one of all tasks."""
        return self.finalists * self.groups + 1 if self.finalists else 0

    def cost_of(self, networks: int, finals: int) -> float:
        """Return the cost of some short trainings, and of some of finalists, in trainings of a plan."""
        return (networks * self.epochs + finals * self.final_epochs) / (self.groups * self.epochs_of_plan)


def _numbers_of_groups(config: Config, ours: int, tasks: Sequence[str]) -> tuple[int, int]:
    """The fewest and the most groups of a partition; auto: within the budget."""
    fewest, most = config.search.n_groups(ours)
    if config.grouping.budget is None:
        return fewest, most
    least, largest = conditions_of(config, tasks).numbers(len(tasks))
    if config.search.groups == "auto" and not config.search.candidates:
        fewest, most = max(fewest, least), min(max(most, least), largest)
    if not least <= fewest <= most <= largest:
        raise InputError(
            f"a search for {ranged(fewest, max(fewest, most), 'group')}, and grouping.budget allows "
            f"{ranged(least, largest)}: "
            "give search.groups within these, or leave searched out of retrain.plans"
        )
    return fewest, most


def check_search(config: Config, tasks: Sequence[str]) -> None:
    """Check the settings of a search before anything runs.

    Raises:
        InputError: more groups than tasks or than `grouping.budget` allows, too many networks, or a candidate that
            lacks a task, has another, or breaks the budget.
    """
    if "searched" not in config.retrain.plans:
        return
    if len(tasks) < 2 or config.search.n_groups(1)[1] > len(tasks):
        raise InputError(f"search.groups={config.search.groups} but there are {len(tasks)} tasks: expected 1 to that")
    conditions = conditions_of(config, tasks)
    for number, groups in enumerate(config.search.candidates):
        named = {name for group in groups for name in group}
        for odd, what in ((set(tasks) - named, "lacks"), (named - set(tasks), "names")):
            if odd:
                raise InputError(
                    f"search.candidates: candidate {number} {what} {sorted(odd)[0]!r}: expected every task in one group"
                )
        if broken := conditions.broken_by(np.array([[task in group for task in tasks] for group in groups])):
            raise InputError(
                f"search.candidates: candidate {number} breaks grouping.budget ({broken}): expected groups that keep it"
            )
    Size.of(config, 1, 1, tasks)
    if (networks := config.search.cost * len(tasks) / config.search.length) > MOST_NETWORKS:
        raise InputError(
            f"search.cost={config.search.cost:g} and search.length={config.search.length:g} allow {networks:,.0f} "
            f"networks: expected at most {MOST_NETWORKS:,}"
        )
