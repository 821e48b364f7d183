"""The networks that a run trains, as far as they are known before its groups are: the most there may be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config, TrainingConfig
from stg_ray.config.plans import plan_of_name
from stg_ray.data.parts import PartIndex
from stg_ray.grouping.n_groups import most_groups
from stg_ray.grouping.selection import Conditions
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.plans import Spent, make_plans, network_specs
from stg_ray.retraining.search.size import Size
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.shown import counted, ranged
from stg_ray.training.length import Length


def expected_networks(
    config: Config, index: PartIndex, ours: Groups | None = None, searched: Groups | None = None
) -> tuple[Config, list[NetworkSpec]]:
    """Return the networks of all plans, those of the search included, with a number of epochs each.

    What is not known yet is the most that it may be: the number of groups, and the length of trainings that is left to
    their scores.

    Args:
        ours: the groups, where they are known; else as many of equal sizes as there may be.
        searched: those of the search, where it has ended; else its networks are among those that are returned.

    Returns:
        The configuration with that length, and the specs; the same network may be part of several plans.
    """
    is_joint = config.retrain.learner == "joint"
    of_episodes = Length.of(config.retrain, config.meta.steps_per_epoch).most
    epochs = epochs_at_most(config.retrain, index) if is_joint else of_episodes
    config = config.model_copy(update={"retrain": config.retrain.model_copy(update={"epochs": epochs})})
    number = config.grouping.groups if config.grouping.groups != "auto" else groups_at_most(config, index.names)
    number = number if ours is None else len(ours.groups)
    searches = searched is None and "searched" in config.retrain.plans
    size = Size.of(config, number, epochs, index.names) if searches else None
    searched = searched if size is None else _assumed(index, size.groups)
    own_rows = index.common_share is not None
    plans = make_plans(ours or _assumed(index, number), index.tasks, config, searched, own_rows=own_rows)
    plans = {name: plan for name, plan in plans.items() if plan_of_name(name).copies is None}  # others train nothing
    of_all = index.rows_at_most(len(index.tasks))
    spent = {
        (name, config.seed + s): round(
            int(plan.epochs) * sum(index.rows_at_most(len(group)) for group in plan.groups.groups) / of_all
        )
        for name, plan in plans.items()
        if not isinstance(plan.epochs, Spent)
        for s in range(config.retrain.seeds)
    }
    specs = list(network_specs(plans, config, spent=spent))
    if specs and size is not None:
        short = next(spec for spec in specs if spec.plan == "searched")
        lengths = [size.epochs] * size.networks + [size.final_epochs] * size.n_finals
        specs += [replace(short, plan="search", probe=True, group=n, epochs=own) for n, own in enumerate(lengths)]
    return config, specs


Place = tuple[str, int, int]
"""Plan, group and seed of a network."""


def place_of(spec: NetworkSpec) -> Place:
    """Return what tells a network from the others of a run, whatever is known of its length."""
    return spec.plan, spec.group, spec.seed


def trained_networks(
    run: RunDir, config: Config, index: PartIndex, ours: Groups, searched: Groups | None = None
) -> set[Place]:
    """Return the networks of a run that are trained already.

    Those of a search that has not ended, and those whose epochs depend on others, are not known before the stage goes
    on.

    Args:
        config: of the run, with what was settled and tuned.
        ours: the groups.
        searched: those of the search, where it has ended.
    """
    plans = make_plans(ours, index.tasks, config, searched, own_rows=index.common_share is not None)
    starts_there = any(plan.profiled for plan in plans.values())
    profiled = hashlib.sha256(run.read_bytes("profile/network.pt")).hexdigest()[:16] if starts_there else ""
    specs = network_specs(plans, config, profiled)
    return {place_of(spec) for spec in specs if is_finished(run, network_folder(spec, config))}


def distinct_networks(config: Config, specs: Sequence[NetworkSpec]) -> list[NetworkSpec]:
    """Return each of the networks once: equal ones of several plans are trained once.

    Those of a search, whose groups are not known yet, stand for different ones.
    """
    return list({(spec.fingerprint(config), spec.group if spec.probe else None): spec for spec in specs}.values())


def epochs_at_most(training: TrainingConfig, index: PartIndex) -> int:
    """Return the epochs of a training, or the most that `auto` allows."""
    return Length.of(training, math.ceil(index.n_samples() / training.batch_size)).most


def groups_at_most(config: Config, names: list[str]) -> int:
    """Return the largest number of groups that may be chosen."""
    if config.grouping.budget is not None:
        return Conditions.of(config.grouping.budget.model_dump(), names).most_networks(len(names))
    return max(config.grouping.min_groups, most_groups(len(names), config.grouping.max_groups))


def groups_text(config: Config, names: list[str]) -> str:
    """Say how many groups there may be, and how their number is chosen."""
    if config.grouping.budget is not None:
        return f"at most {counted(groups_at_most(config, names), 'group')}, chosen by score"
    if config.grouping.method == "auxiliary":
        return "a group for each main task"
    if config.grouping.groups == "auto":
        least, most = config.grouping.min_groups, groups_at_most(config, names)
        further = min(2 * most, len(names) - 1) if config.grouping.max_groups is None else most
        if_best = f" (to {further} where {most} are best, with as many more networks)" if further > most else ""
        return f"{ranged(least, most, 'group')}, chosen by {config.grouping.criterion}{if_best}"
    return counted(config.grouping.groups, "group")


def _assumed(index: PartIndex, number: int) -> Groups:
    """Groups of equal sizes, for a cost."""
    n_tasks = len(index.names)
    return Groups.from_labels(index.names, np.arange(n_tasks) * number // n_tasks, "assumed")
