"""The size of a search: how many networks it measures, for how long, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stg_ray.config import Config
from stg_ray.errors import InputError
from stg_ray.retraining.budget import conditions_of

FINAL_LENGTH = 0.5
"""Length of the trainings of finalists, as a share of a plan's: from scratch it takes half of a training to tell which
groups are better (jobs/bench/short_trainings.py)."""

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
            f"a search for {fewest} to {max(fewest, most)} groups, and grouping.budget allows {least} to {largest}: "
            "give search.groups within these, or leave searched out of retrain.plans"
        )
    return fewest, most
