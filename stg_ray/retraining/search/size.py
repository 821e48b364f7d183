"""The size of a search: how many networks it measures, for how long, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from stg_ray.config import Config


@dataclass(frozen=True)
class Size:
    """The size of a search.

    Attributes:
        fewest: number of groups of a partition at least.
        groups: number of groups of a partition at most.
        networks: number of networks to measure at most, that of all tasks among them; with one partition at least.
        epochs: of each.
        cost: of all of them, in trainings of a plan with the most groups.
    """

    fewest: int
    groups: int
    networks: int
    epochs: int
    cost: float

    @classmethod
    def of(cls, config: Config, ours: int, epochs: int) -> Size:
        """Return the size of a run's search.

        Args:
            config: of the run.
            ours: number of our groups.
            epochs: of a plan's networks, as far as they are known.
        """
        fewest, groups = config.search.n_groups(ours)
        short = max(1, round(config.search.length * epochs))
        networks = max(1 + groups, int(config.search.cost * groups * epochs / short))
        return cls(fewest, groups, networks, short, networks * short / (groups * epochs))
