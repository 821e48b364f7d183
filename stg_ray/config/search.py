"""The section of a configuration about the search for groups by measuring."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stg_ray.config.data import Auto, Count, Section
from stg_ray.config.training import Positive


class SearchConfig(Section):
    """The search for the plan `searched`: short trainings of groups' networks, compared on validation rows."""

    groups: Count | Auto = "auto"
    """Number of groups; auto: as many as your candidates have, else as ours, and at least 2."""
    cost: Positive = 3.0
    """Largest cost of the search, in trainings of a plan of that many networks."""
    length: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Length of a short training, as a share of the epochs of a plan's networks (of the profile's, where
    `retrain.epochs` is auto)."""
    start: Literal["profiled", "scratch"] = "profiled"
    """Starting point of the short trainings: the profiled network, or their initialization."""
    rounds: Count = 5
    """Number of times that networks are trained at once. More rounds know more when they choose what to measure; fewer
    fill a cluster better."""
    candidates: list[list[list[str]]] = []
    """Groupings of yours to measure first, each a list of groups, which are lists of task names. Every task is in one
    group, and all groupings have the same number of groups."""

    @model_validator(mode="after")
    def _whole_candidates(self) -> SearchConfig:
        for number, groups in enumerate(self.candidates):
            names = [name for group in groups for name in group]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"candidate {number} has {twice!r} more than once: expected every task in one group")
            if not groups or not all(groups):
                raise ValueError(f"candidate {number} has an empty group: leave it out")
        numbers = {len(groups) for groups in self.candidates} | ({self.groups} - {"auto"} if self.candidates else set())
        if len(numbers) > 1:
            raise ValueError(
                f"the candidates and search.groups have {', '.join(map(str, sorted(map(int, numbers))))} groups: "
                "expected one number"
            )
        return self

    @property
    def n_groups(self) -> int | None:
        """The number of groups; None where it follows from ours."""
        if self.groups == "auto":
            return len(self.candidates[0]) if self.candidates else None
        return self.groups
