"""The tables of the retrain stage: the scores of the trained networks, alone and together, and their costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stg_ray.artifacts.groups import Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import wait_for
from stg_ray.config import Config
from stg_ray.imports import work_in
from stg_ray.retraining.kept import folders_of
from stg_ray.retraining.plans import Plan
from stg_ray.retraining.scoring import Scores, ensemble_scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trials import as_ray_task, device_here
from stg_ray.training.compute import training_process


@dataclass(frozen=True)
class Scored:
    """Scores of some tasks on a split, in one training of a plan.

    Attributes:
        plan: its name.
        seed: of the training.
        serving: how the plan's networks predict: argmax or ensemble.
        split: val or test.
        scores: metrics by task and by name.
        group: number of the group that serves each task, by task.
    """

    plan: str
    seed: int
    serving: Serving
    split: str
    scores: Scores
    group: dict[str, int]


def argmax_scores(networks: list[dict[str, Any]], plans: dict[str, Plan]) -> list[Scored]:
    """Take from each network's scores those of the tasks that it serves.

    Args:
        networks: contents of their network.json, with their specs.
        plans: by name, at least those of the networks.
    """
    scored = []
    for network in networks:
        serving = plans[network["plan"]].groups.serving
        for split, scores in network["scores"].items():
            served = {task: metrics for task, metrics in scores.items() if serving[task] == network["group"]}
            groups = dict.fromkeys(served, network["group"])
            scored.append(Scored(network["plan"], network["seed"], "argmax", split, served, groups))
    return scored


def ensembles(
    run: RunDir,
    config: Config,
    plans: dict[str, Plan],
    specs: Sequence[NetworkSpec],
    failed: set[tuple[str, int]],
) -> list[Scored]:
    """Score the plans in which several networks predict a task together, by Ray tasks.

    Args:
        specs: of the networks that have outputs on validation rows; a plan of others is scored on test rows only.
        failed: trainings (plan, seed) in which a network is missing; they are left out.
    """
    import ray

    wanted = [
        (name, config.seed + s)
        for name, plan in plans.items()
        if config.retrain.learner == "joint"  # initialisations have no outputs of a task to be averaged
        if "ensemble" in plan.servings
        for s in range(config.retrain.seeds)
        if (name, config.seed + s) not in failed
    ]
    if not wanted:
        return []
    score = as_ray_task(_score_ensemble, config)
    folders = folders_of(specs, config)
    references = [
        score.options(name=f"scores of {name}, seed {seed}").remote(
            run.uri, config.model_dump(), name, seed, [own[group] for group in sorted(own)], os.getcwd()
        )
        for name, seed in wanted
        for own in (folders.get((name, seed), {}),)
    ]
    return [
        Scored(name, seed, "ensemble", split, scores, plans[name].groups.serving)
        for (name, seed), by_split in zip(wanted, wait_for(lambda: ray.get(references)), strict=True)
        for split, scores in by_split.items()
    ]


def _score_ensemble(
    run: str, config: dict[str, Any], plan: str, seed: int, folders: Sequence[str], directory: str
) -> dict[str, Scores]:
    """Score one training of a plan, in a Ray task."""
    work_in(directory)
    with training_process(1):
        return ensemble_scores(Storage(run), Config.model_validate(config), plan, seed, folders, device_here())


def results_table(scored: list[Scored]) -> pa.Table:
    """Lay out scores as a table with a row per plan, seed, task, split, way of serving and metric."""
    columns = ("plan", "group", "task", "split", "serving", "metric", "value", "seed")
    rows = [
        (each.plan, each.group[task], task, each.split, each.serving, metric, value, each.seed)
        for each in scored
        for task, metrics in each.scores.items()
        for metric, value in metrics.items()
    ]
    types = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.string(), pa.string(), pa.float64(), pa.int64())
    schema = pa.schema(list(zip(columns, types, strict=True)))
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=schema)


def costs_table(networks: list[dict[str, Any]]) -> pa.Table:
    """Lay out each network's cost (samples x epochs x parameters) and its seconds of training.

    A network that several plans have was trained once: it has a row in each, of one `network`, a number from 0.
    """
    types = {"plan": pa.string(), "group": pa.int64(), "seed": pa.int64(), "cost": pa.int64(), "seconds": pa.float64()}
    numbers: dict[Any, int] = {}
    rows = [{key: network[key] for key in types} for network in networks]
    for row, network in zip(rows, networks, strict=True):
        row["network"] = numbers.setdefault(network.get("digest", tuple(row.values())), len(numbers))
    types["network"] = pa.int64()
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
