"""Plans: the groupings whose networks are trained, ours and the baselines, and what each network is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.errors import InputError
from stg_ray.groups import Groups
from stg_ray.serving import network_place
from stg_ray.tasks import Task

OF_PLANS = {"plans", "seeds", "random_groups", "membership_above"}
"""Settings that decide which networks there are, and not what becomes of one."""


@dataclass(frozen=True)
class Plan:
    """A grouping, and how its networks are trained.

    Attributes:
        groups: whose networks are trained.
        soft: the loss of each task in a group's network is weighted by its membership (Sherif et al., STG-MTL).
    """

    groups: Groups
    soft: bool = False

    def weights(self, group: int) -> tuple[float, ...] | None:
        """Weight of each task's loss in the network of a group; None where all count the same."""
        if not self.soft:
            return None
        number = {task: t for t, task in enumerate(self.groups.tasks)}
        weights = tuple(self.groups.membership[number[task]][group] for task in self.groups.groups[group])
        return None if len(set(weights)) == 1 else weights


@dataclass(frozen=True)
class NetworkSpec:
    """One network to be trained: a group of a plan, with a seed; `weights` multiply its tasks' losses."""

    plan: str
    group: int
    tasks: tuple[str, ...]
    seed: int
    weights: tuple[float, ...] | None = None

    @property
    def folder(self) -> str:
        """Where the finished network is published."""
        return network_place(self.plan, self.group, self.seed)

    @property
    def title(self) -> str:
        return f"{self.plan} group {self.group} seed {self.seed}"

    def fingerprint(self, config: Config) -> str:
        """Hash of all that decides the trained network, whatever plan it is for: its name among the networks."""
        training = config.retrain.model_dump(exclude={*OF_PLANS, *WHERE_IT_RUNS})
        own = {key: value for key, value in self.to_dict().items() if key not in ("plan", "group")}
        text = json.dumps([config.fingerprint(("seed", "data", "model")), training, own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        weights = values["weights"]
        return cls(
            **{**values, "tasks": tuple(values["tasks"]), "weights": None if weights is None else tuple(weights)}
        )


def make_plans(ours: Groups, tasks: tuple[Task, ...], config: Config) -> dict[str, Plan]:
    """The plans of `retrain.plans` by name; draws of random groups are random_0, random_1, ...

    Ours with a single group is all-in-one, and what is made from it is too: then none of them is a plan of its own.
    """
    check_plans(config, tasks)
    names = ours.tasks
    one = Plan(Groups.from_labels(names, np.zeros(len(names), dtype=int), "all_in_one"))
    plans: dict[str, Plan] = {}
    for plan in config.retrain.plans:
        if plan == "all_in_one":
            plans[plan] = one
        elif plan == "single_task":
            plans[plan] = Plan(Groups.from_labels(names, np.arange(len(names)), plan))
        elif plan == "known":
            plans[plan] = Plan(Groups.from_labels(names, np.array([task.group for task in tasks]), plan))
        elif len(ours.groups) == 1:
            continue
        elif plan == "ours":
            plans[plan] = Plan(ours)
        elif plan == "ours_soft":
            plans[plan] = Plan(ours.with_members_above(config.retrain.membership_above), soft=True)
        else:
            plans |= _random_plans(ours, config)
    if "ours" in config.retrain.plans and len(ours.groups) == 1:
        plans.setdefault("all_in_one", one)
    return plans


def check_plans(config: Config, tasks: tuple[Task, ...]) -> None:
    """Refuse plans that these tasks do not have.

    Raises:
        InputError: `known` is asked for and the task set has no known groups.
    """
    if "known" in config.retrain.plans and any(task.group is None for task in tasks):
        raise InputError("retrain.plans has known, but the task set has no known groups: leave it out")


def network_specs(plans: Mapping[str, Plan], config: Config) -> Iterator[NetworkSpec]:
    """Every network of every plan and seed, the largest groups first, so that a long trial does not come last."""
    specs = [
        NetworkSpec(name, g, tuple(members), config.seed + s, plan.weights(g))
        for name, plan in plans.items()
        for g, members in enumerate(plan.groups.groups)
        for s in range(config.retrain.seeds)
    ]
    return iter(sorted(specs, key=lambda spec: -len(spec.tasks)))


def _random_plans(ours: Groups, config: Config) -> dict[str, Plan]:
    """Random groups of the sizes of ours."""
    plans = {}
    for draw in range(config.retrain.random_groups):
        order = np.random.default_rng([config.seed, 5, draw]).permutation(len(ours.tasks))
        about = {"seed": config.seed, "draw": draw}
        plans[f"random_{draw}"] = Plan(ours.with_tasks_permuted(order, "random", about))
    return plans
