"""Networks of groups of tasks, trained for the ground truth: their scores on validation rows, paid for once.

The scores of a training of all networks are kept in ground_truth.jsonl, a line for each set and training, by the
settings that decide them, while it goes on: another machine goes on with what is there. The key does not know of
changes of the code.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import stg_ray as sr
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stacks import in_trials
from stg_ray.retraining.trial import train_networks

KEPT = Path(__file__).with_name("ground_truth.jsonl")
DECISIVE = ("seed", "model", "profile", "retrain")
"""Sections of the configuration that decide what comes out for a set."""
SCORES = ("average_precision", "r2", "accuracy")
AT_ONCE = 64
"""Networks that are trained before their scores are kept."""

Members = tuple[int, ...]
Job = tuple[str, dict[str, Any], list[dict[str, Any]], str]


def scores_of(
    run: sr.Run, members: Sequence[Members], training: int, processes: int, device: str, keep_as: str | None
) -> np.ndarray:
    """Return the scores (networks, K) of one training of the networks of groups; NaN for tasks that are not in one.

    Args:
        members: numbers of the tasks of each.
        training: its number, from 0.
        processes: that train, of one thread each.
        keep_as: name of the set under which scores are looked up and kept; None: neither.
    """
    names = list(read_index(run.run_dir.sub("parts")).names)
    line = {"set": keep_as, "key": run.config.fingerprint(DECISIVE), "training": training, "tasks": names}
    nothing: dict[str, Any] = {"networks": [], "seconds": 0}
    found = next((own for own in kept() if keep_as and line.items() <= own.items()), nothing)
    known: dict[Members, list[float]] = {tuple(own): scores for own, scores in found["networks"]}
    missing = [own for own in members if own not in known]
    began = time.monotonic()
    for first in range(0, len(missing), AT_ONCE):
        known |= _trained(run, names, missing[first : first + AT_ONCE], training, processes, device)
        about = {"date": f"{datetime.now():%Y-%m-%d}", "seconds": round(found["seconds"] + time.monotonic() - began)}
        if keep_as:
            _keep({**line, **about, "networks": [[list(own), scores] for own, scores in known.items()]})
    table = np.full((len(members), len(names)), np.nan)
    for row, own in zip(table, members, strict=True):
        row[list(own)] = known[own]
    return table


def kept() -> list[dict[str, Any]]:
    """Return what was found before, on this machine or another."""
    return [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def _keep(line: dict[str, Any]) -> None:
    """Keep the scores of a training, in the place of what was there of it."""
    place = line["set"], line["training"]
    others = [own for own in kept() if (own["set"], own["training"]) != place]
    lines = sorted([*others, line], key=lambda own: (own["set"], own["training"]))
    KEPT.write_text("".join(f"{json.dumps(own)}\n" for own in lines))


def _trained(
    run: sr.Run, names: list[str], members: Sequence[Members], training: int, processes: int, device: str
) -> dict[Members, list[float]]:
    """Train the networks that the run does not have yet, small ones in step; return the scores of their tasks."""
    config, storage = run.config, run.run_dir
    specs = [spec_of(config, names, own, training) for own in members]
    left = [spec for spec in specs if not is_finished(storage, network_folder(spec, config))]
    stacks = in_trials(config, read_index(storage.sub("parts")), left, processes)
    jobs: list[Job] = [(storage.uri, config.model_dump(), [spec.to_dict() for spec in own], device) for own in stacks]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(train, jobs):
            pass
    found = {}
    for own, spec in zip(members, specs, strict=True):
        of_tasks = storage.read_json(f"{network_folder(spec, config)}/network.json")["scores"]["val"]
        scores = [of_tasks[names[t]] for t in own]
        found[own] = [round(next(metrics[key] for key in SCORES if key in metrics), 5) for metrics in scores]
    return found


def spec_of(config: Config, names: list[str], members: Sequence[int], training: int) -> NetworkSpec:
    """Return the network of some tasks in a training; its scores on validation rows are kept."""
    tasks = tuple(names[t] for t in members)
    seed = config.seed + training
    return NetworkSpec("ground truth", 0, tasks, seed, seed, config.retrain.epochs, probe=True)


def train(job: Job) -> None:
    """Train networks in a process of the pool."""
    import torch

    torch.set_num_threads(1)
    uri, config, own, device = job
    specs = [NetworkSpec.from_dict(spec) for spec in own]
    failures = train_networks(Storage(uri), Config.model_validate(config), specs, device=device, report=lambda *_: None)
    for error in failures.values():
        raise error
