"""Plans: the groupings whose networks are trained, ours and the baselines, and what each network is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.errors import InputError
from stg_ray.groups import Groups
from stg_ray.tasks import Task


@dataclass(frozen=True)
class NetworkSpec:
    """One network to be trained: a group of a plan, with a seed."""

    plan: str
    group: int
    tasks: tuple[str, ...]
    seed: int

    @property
    def folder(self) -> str:
        """Where the finished network is published."""
        return f"models/{self.plan}/group-{self.group}/seed-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.plan} group {self.group} seed {self.seed}"

    def fingerprint(self, config: Config) -> str:
        """Hash of all that decides the trained network, whatever plan it is for: its name among the networks."""
        training = config.retrain.model_dump(exclude={"plans", "seeds", "random_groups", *WHERE_IT_RUNS})
        text = json.dumps([config.fingerprint(("seed", "data", "model")), training, self.tasks, self.seed])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> NetworkSpec:
        return cls(**{**values, "tasks": tuple(values["tasks"])})


def make_plans(ours: Groups, tasks: tuple[Task, ...], config: Config) -> dict[str, Groups]:
    """The plans of `retrain.plans` by name; draws of random groups are random_0, random_1, ...

    Ours with a single group is all-in-one, and its random groups are too: then neither is a plan of its own.
    """
    check_plans(config, tasks)
    names = ours.tasks
    plans: dict[str, Groups] = {}
    for plan in config.retrain.plans:
        if plan == "all_in_one":
            plans[plan] = Groups.from_labels(names, np.zeros(len(names), dtype=int), plan)
        elif plan == "single_task":
            plans[plan] = Groups.from_labels(names, np.arange(len(names)), plan)
        elif plan == "known":
            plans[plan] = Groups.from_labels(names, np.array([task.group for task in tasks]), plan)
        elif len(ours.groups) > 1:
            plans |= {"ours": ours} if plan == "ours" else _random_plans(ours, config)
    if "ours" in config.retrain.plans and len(ours.groups) == 1 and "all_in_one" not in plans:
        plans["all_in_one"] = Groups.from_labels(names, np.zeros(len(names), dtype=int), "all_in_one")
    return plans


def check_plans(config: Config, tasks: tuple[Task, ...]) -> None:
    """Refuse plans that these tasks do not have.

    Raises:
        InputError: `known` is asked for and the task set has no known groups.
    """
    if "known" in config.retrain.plans and any(task.group is None for task in tasks):
        raise InputError("retrain.plans has known, but the task set has no known groups: leave it out")


def network_specs(plans: dict[str, Groups], config: Config) -> Iterator[NetworkSpec]:
    """Every network of every plan and seed, the largest groups first, so that a long trial does not come last."""
    specs = [
        NetworkSpec(plan, g, tuple(members), config.seed + s)
        for plan, groups in plans.items()
        for g, members in enumerate(groups.groups)
        for s in range(config.retrain.seeds)
    ]
    return iter(sorted(specs, key=lambda spec: -len(spec.tasks)))


def _random_plans(ours: Groups, config: Config) -> dict[str, Groups]:
    """Random groups of the sizes of ours."""
    plans = {}
    for draw in range(config.retrain.random_groups):
        order = np.random.default_rng([config.seed, 5, draw]).permutation(len(ours.tasks))
        about = {"seed": config.seed, "draw": draw}
        plans[f"random_{draw}"] = ours.with_tasks_permuted(order, "random", about)
    return plans
