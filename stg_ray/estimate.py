"""What a configuration would run and what it would cost, without running it."""

from __future__ import annotations

import numpy as np

from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, index_of
from stg_ray.data.sources import load_task_set
from stg_ray.data_map import snapshot_epochs
from stg_ray.grouping.group_tasks import conditions_of
from stg_ray.grouping.n_groups import most_groups
from stg_ray.groups import Groups
from stg_ray.models import build_network
from stg_ray.pipeline import check
from stg_ray.retraining.plans import NetworkSpec, make_plans, network_specs


def estimate(config: Config) -> list[tuple[str, str]]:
    """The stages and what each would do, as (name, text).

    Costs are samples x epochs x parameters. With `grouping.groups: auto` the number of groups is not known yet: the
    largest that may be chosen is assumed, and said.

    Raises:
        InputError: the run would be refused.
    """
    task_set = load_task_set(config.data, config.seed)
    index = index_of(task_set, part_rows=config.data.rows_of_a_part)
    check(config, index)
    network = build_network(config.model, index, index.tasks, config.seed)
    n_tasks, n_train, epochs = len(index.tasks), index.n_samples(), config.profile.epochs
    snapshots = snapshot_epochs(epochs, config.profile.snapshots)
    state_bytes = n_train * (12 + 8 * n_tasks)
    samples = min(config.affinity.samples, n_train)
    return [
        ("parts", f"{n_tasks} tasks, {n_train:,} training samples in {index.n_parts()} parts"),
        (
            "profile",
            f"{epochs} epochs, {config.profile.workers} workers, {network.n_parameters:,} parameters, "
            f"cost {n_train * epochs * network.n_parameters:.2e}; data maps of "
            f"{_size(state_bytes * len(snapshots))} ({len(snapshots)} snapshots)",
        ),
        ("affinity", f"{', '.join(config.affinity.methods)}: {n_tasks} x {n_tasks}, gradients of {samples:,} samples"),
        ("group", f"{config.grouping.method}, {_groups_text(config, index.names)}"),
        ("retrain", _retrain_text(config, index)),
    ]


def _retrain_text(config: Config, index: PartIndex) -> str:
    n_tasks = len(index.tasks)
    number = config.grouping.groups if config.grouping.groups != "auto" else _most(config, index.names)
    labels = np.arange(n_tasks) * number // n_tasks
    plans = make_plans(Groups.from_labels(index.names, labels, "assumed"), index.tasks, config)
    specs = list(network_specs(plans, config))
    if not specs:
        return "no plans"
    tasks = {task.name: task for task in index.tasks}
    sizes = {
        members: build_network(config.model, index, [tasks[name] for name in members], 0).n_parameters
        for members in {spec.tasks for spec in specs}
    }
    cost = sum(sizes[spec.tasks] * spec.epochs for spec in specs) * index.n_samples()
    counts = ", ".join(f"{sum(spec.plan == plan for spec in specs)} of {plan}" for plan in plans)
    at_most = "at most " if config.grouping.groups == "auto" else ""
    return f"{at_most}{len(specs)} networks ({counts}), {_epochs_text(specs)} epochs, cost {at_most}{cost:.2e}"


def _epochs_text(specs: list[NetworkSpec]) -> str:
    epochs = sorted({spec.epochs for spec in specs})
    return " or ".join(map(str, epochs))


def _groups_text(config: Config, names: list[str]) -> str:
    if config.grouping.budget is not None:
        return f"at most {_most(config, names)} groups, chosen by score"
    if config.grouping.groups == "auto":
        numbers = f"{config.grouping.min_groups} to {_most(config, names)}"
        return f"{numbers} groups, chosen by {config.grouping.criterion}"
    return f"{config.grouping.groups} groups"


def _most(config: Config, names: list[str]) -> int:
    if config.grouping.budget is not None:
        return conditions_of(config.grouping.budget.model_dump(), names).most_networks(len(names))
    return max(config.grouping.min_groups, most_groups(len(names), config.grouping.max_groups))


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
