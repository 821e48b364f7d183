"""The budget of `grouping.budget` beyond grouping: what a search keeps to, and which plans cannot be deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stg_ray.config import Config
from stg_ray.retraining.plans import Plan
from stg_ray.tasks.conditions import Conditions


def conditions_of(config: Config, tasks: Sequence[str]) -> Conditions:
    """Return the conditions that groups keep: those of `grouping.budget`, or none."""
    budget = config.grouping.budget
    return Conditions(names=tuple(tasks)) if budget is None else Conditions.of(budget.model_dump(), tasks)


def broken_plans(config: Config, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Return which condition plans break, by the names of those that do.

    The plans without groups of ours are trained all the same: they are what ours are compared with.
    """
    found = {}
    for name, plan in plans.items():
        groups = [set(group) for group in plan.groups.groups]
        members = np.array([[task in group for task in plan.groups.tasks] for group in groups])
        if reason := conditions_of(config, plan.groups.tasks).broken_by(members):
            found[name] = reason
    return found
