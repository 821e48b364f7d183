"""Plans: the groupings whose networks are trained, ours and the baselines, and what each network is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import network_place
from stg_ray.config import WHERE_IT_RUNS, Config
from stg_ray.config.fingerprints import fingerprint_values
from stg_ray.config.sections import PROFILED
from stg_ray.errors import InputError
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task

OF_PLANS = {"plans", "seeds", "random_groups", "membership_above", "start", "epochs"}
"""Settings that decide which networks there are; what of it decides what becomes of one stands in its spec."""


@dataclass(frozen=True)
class Plan:
    """A grouping, and how its networks are trained.

    Attributes:
        groups: whose networks are trained.
        epochs: of every network.
        soft: the loss of each task in a group's network is weighted by its membership (Sherif et al., STG-MTL).
        profiled: the networks start from the profiled network; else from scratch.
        ensemble: the groups' networks differ in their random draws only, and are served together.
    """

    groups: Groups
    epochs: int
    soft: bool = False
    profiled: bool = False
    ensemble: bool = False

    def weights(self, group: int) -> tuple[float, ...] | None:
        """Weight of each task's loss in the network of a group; None where all count the same."""
        if not self.soft:
            return None
        number = {task: t for t, task in enumerate(self.groups.tasks)}
        weights = tuple(self.groups.membership[number[task]][group] for task in self.groups.groups[group])
        return None if len(set(weights)) == 1 else weights


@dataclass(frozen=True)
class NetworkSpec:
    """One network to be trained: a group of a plan, in one of its trainings.

    Attributes:
        seed: of the training, by which it is published.
        draws: seed of the network's random draws: its initialisation, its batches, dropout.
        weights: multiply its tasks' losses; all 1 if None.
        start: digest of the profiled network, if it starts from that.
    """

    plan: str
    group: int
    tasks: tuple[str, ...]
    seed: int
    draws: int
    epochs: int
    weights: tuple[float, ...] | None = None
    start: str | None = None

    @property
    def folder(self) -> str:
        """Where the finished network is published."""
        return network_place(self.plan, self.group, self.seed)

    @property
    def title(self) -> str:
        return f"{self.plan} group {self.group} seed {self.seed}"

    def fingerprint(self, config: Config) -> str:
        """Hash of all that decides the trained network, whatever plan it is for: its name among the networks."""
        not_its_own = {"profiled_lr"} if self.start is None else set()
        training = fingerprint_values(config.retrain, exclude={*OF_PLANS, *WHERE_IT_RUNS, *not_its_own})
        own = {"tasks": self.tasks, "seed": self.draws, "epochs": self.epochs, "weights": self.weights}
        own["start"] = self.start
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

    all_in_one_equal_cost is trained for as many epochs as the networks of ours together, all_in_one_ensemble has as
    many networks of all tasks: what more training, and more networks, give without a choice of tasks. Ours with a
    single group is all-in-one, and what is made from it is too: then none of them is a plan of its own.
    """
    check_plans(config, tasks)
    names, epochs = ours.tasks, config.retrain.epochs
    one = Plan(Groups.from_labels(names, np.zeros(len(names), dtype=int), "all_in_one"), epochs)
    plans: dict[str, Plan] = {}
    for plan in config.retrain.plans:
        if plan == "all_in_one":
            plans[plan] = one
        elif plan == "single_task":
            plans[plan] = Plan(Groups.from_labels(names, np.arange(len(names)), plan), epochs)
        elif plan == "known":
            plans[plan] = Plan(Groups.from_labels(names, np.array([task.group for task in tasks]), plan), epochs)
        elif len(ours.groups) == 1:
            continue
        elif plan == "ours":
            plans[plan] = Plan(ours, epochs)
        elif plan == "all_in_one_equal_cost":
            plans[plan] = replace(one, epochs=len(ours.groups) * epochs)
        elif plan == "all_in_one_ensemble":
            plans[plan] = Plan(_copies(names, len(ours.groups)), epochs, ensemble=True)
        elif plan == "ours_soft":
            plans[plan] = Plan(ours.with_members_above(config.retrain.membership_above), epochs, soft=True)
        else:
            plans |= _random_plans(ours, config)
    if "ours" in config.retrain.plans and len(ours.groups) == 1:
        plans.setdefault("all_in_one", one)
    if config.retrain.start == "scratch":
        return plans
    warm = {name: replace(plan, profiled=True) for name, plan in plans.items()}
    return warm if config.retrain.start == "profiled" else plans | {name + PROFILED: warm[name] for name in plans}


def check_plans(config: Config, tasks: tuple[Task, ...]) -> None:
    """Refuse plans that these tasks do not have.

    Raises:
        InputError: `known` is asked for and the task set has no known groups.
    """
    if "known" in config.retrain.plans and any(task.group is None for task in tasks):
        raise InputError("retrain.plans has known, but the task set has no known groups: leave it out")


def network_specs(plans: Mapping[str, Plan], config: Config, profiled: str = "") -> Iterator[NetworkSpec]:
    """Every network of every plan and seed, the longest first, so that a long trial does not come last.

    Args:
        profiled: digest of the profiled network.
    """
    seeds = config.retrain.seeds
    specs = [
        NetworkSpec(
            name,
            g,
            tuple(members),
            seed=config.seed + s,
            draws=config.seed + s + (g * seeds if plan.ensemble else 0),
            epochs=plan.epochs,
            weights=plan.weights(g),
            start=profiled if plan.profiled else None,
        )
        for name, plan in plans.items()
        for g, members in enumerate(plan.groups.groups)
        for s in range(seeds)
    ]
    return iter(sorted(specs, key=lambda spec: (-spec.epochs, -len(spec.tasks))))


def _copies(tasks: list[str], n_groups: int) -> Groups:
    """Groups of all tasks, which predict them with equal weights."""
    membership = [[1 / n_groups] * n_groups] * len(tasks)
    return Groups(tasks, [tasks] * n_groups, membership, dict.fromkeys(tasks, 0), "all_in_one_ensemble")


def _random_plans(ours: Groups, config: Config) -> dict[str, Plan]:
    """Random groups of the sizes of ours."""
    plans = {}
    for draw in range(config.retrain.random_groups):
        order = generator(Stream.RANDOM_GROUPS, config.seed, draw).permutation(len(ours.tasks))
        about = {"seed": config.seed, "draw": draw}
        plans[f"random_{draw}"] = Plan(ours.with_tasks_permuted(order, "random", about), config.retrain.epochs)
    return plans
