"""The budget of `grouping.budget` beyond grouping: what a search keeps to, and which plans cannot be deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.config import Config
from stg_ray.retraining.plans import Plan, conditions_of, n_networks
from stg_ray.retraining.specs import NetworkSpec


def broken_plans(config: Config, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Return which condition plans break, by the names of those that do.

    They are trained all the same: they are what ours are compared with.
    """
    found = {}
    for name, plan in plans.items():
        if reason := conditions_of(config, plan.groups.tasks).broken_by(plan.groups.members):
            found[name] = reason
    return found


def allows_one(config: Config, tasks: Sequence[str]) -> bool:
    """Whether a network of all tasks keeps the budget."""
    return not conditions_of(config, tasks).broken_by(np.ones((1, len(tasks)), dtype=bool))


def allowed(config: Config, tasks: Sequence[str], specs: Sequence[NetworkSpec]) -> list[NetworkSpec]:
    """Return those of some networks whose tasks may share one."""
    members = np.array([[task in spec.tasks for task in tasks] for spec in specs]).reshape(-1, len(tasks))
    keeps = conditions_of(config, tasks).allows(members)
    return [spec for spec, keep in zip(specs, keeps, strict=True) if keep]


def most_of_greedy(config: Config, ours: Groups) -> int:
    """Return how many networks the plan greedy may serve."""
    most = config.retrain.networks or n_networks(ours)
    return min(most, conditions_of(config, ours.tasks).most_networks(len(ours.tasks)))
