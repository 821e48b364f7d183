"""The section of a configuration about the search for groups by measuring."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stg_ray.config.data import Auto, Count, Section
from stg_ray.config.fingerprints import since
from stg_ray.config.training import Positive
from stg_ray.shown import ranged


class SearchConfig(Section):
    """The search for the plan `searched`: short trainings of groups' networks, compared on validation rows."""

    groups: Count | Auto | tuple[Count, Count] = "auto"
    """Number of groups, or [FEWEST, MOST]; auto: as many as your candidates have, else from 2 to as many as ours."""
    cost: Positive = 3.0
    """Largest cost of the search, in trainings of a plan of that many networks."""
    length: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Length of a short training, as a share of the epochs of a plan's networks (of the profile's, where
    `retrain.epochs` is auto)."""
    finalists: Annotated[int, Field(ge=0, le=100)] = 0
    """Groupings that are trained as a plan is, but half as long, to find the best of them: the best by the short
    trainings, ours, and those of which the most is expected; as many as half of the cost allows. 0 or 1: the best by
    the short trainings is taken, which measure twice as many groups then. 3 pay where the profile itself holds tasks
    back, as tasks in conflict do."""
    start: Literal["profiled", "scratch", "auto"] = "auto"
    """Starting point of the short trainings: the profiled network, or their initialization. auto: from scratch, and at
    least half as long as a plan's, where the forecast expects a clear gain of groups over one network, which holds
    tasks back then; else from the profiled network, also where the forecast's networks are trained already."""
    frozen: Annotated[float, Field(ge=0, lt=1), since("0.2")] = 0.0
    """Share of the profiled network's layers, from below, that short trainings leave as they are: their features are
    computed once, and only what lies above is trained. 0: all layers are trained."""
    rounds: Count = 5
    """Number of times that networks are trained at once. More rounds know more when they choose what to measure; fewer
    fill a cluster better."""
    candidates: list[list[list[str]]] = []
    """Groupings of yours to measure first, each a list of groups, which are lists of task names. Every task is in one
    group."""

    @model_validator(mode="after")
    def _whole_candidates(self) -> SearchConfig:
        for number, groups in enumerate(self.candidates):
            names = [name for group in groups for name in group]
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise ValueError(f"candidate {number} has {twice!r} more than once: expected every task in one group")
            if not groups or not all(groups):
                raise ValueError(f"candidate {number} has an empty group: leave it out")
        if self.frozen and self.start == "scratch":
            raise ValueError("frozen layers are the profiled network's: expected start=profiled or auto, or frozen=0")
        if self.groups == "auto":
            return self
        fewest, most = self.n_groups(0)
        if fewest > most:
            raise ValueError(f"the fewest groups come first: expected {[most, fewest]}")
        for number, groups in enumerate(self.candidates):
            if not fewest <= len(groups) <= most:
                expected = ranged(fewest, most)
                raise ValueError(f"candidate {number} has {len(groups)} groups, and search.groups allows {expected}")
        return self

    def n_groups(self, ours: int) -> tuple[int, int]:
        """Return the fewest and the most groups.

        Args:
            ours: number of our groups.
        """
        if self.groups == "auto":
            numbers = [len(groups) for groups in self.candidates] or [2, max(2, ours)]
            return min(numbers), max(numbers)
        return self.groups if isinstance(self.groups, tuple) else (self.groups, self.groups)
