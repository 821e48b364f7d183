"""Small networks trained in step, against a trial for each.

    STG_RAY_DATA=... python -m jobs.bench.small_networks [--widths 16 256] [--epochs 8] [--quick]

40 networks of random groups of yeast's tasks, as a search trains them: all from one seed, as trials of Ray Tune on two
cores. Seconds from the call to the last network, with `retrain.stacked=auto` and with `never` in turns, after one of
each that does not count; then the same without Tune, in this process and on one core: what the steps themselves take.
Scores on validation rows are compared.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import stg_ray as sr
from jobs.bench.known_sets import read_table
from jobs.bench.measure import alternate, show
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.config.loading import set_values
from stg_ray.data.parts import write_parts
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_networks
from stg_ray.retraining.trials import run_trials
from stg_ray.training.auto import resolve_recipe

N_NETWORKS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="few networks, to see that it works")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.widths, arguments.epochs, arguments.rounds = [16], 2, 1
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    torch.set_num_threads(1)
    result: dict[str, Any] = {"benchmark": "small_networks", **vars(arguments)}
    rows = []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        for width in arguments.widths:
            own = of_width(Path(scratch) / str(width), width, arguments.epochs, arguments.rounds, arguments.quick)
            result[f"width {width}"] = own
            for where in ("trials", "steps"):
                stacked, single = own[f"{where}, stacked"], own[f"{where}, single"]
                text = f"{single:.1f} s / {stacked:.1f} s = {single / stacked:.1f}"
                rows.append((f"width {width}, {where}: single / stacked", text, "6" if where == "trials" else ""))
            rows.append((f"width {width}: largest difference of a score", f"{own['difference']:.1e}", "1e-5"))
    ray.shutdown()
    show("Small networks in step", rows, result)


class Silent(StageProgress):
    """Shows nothing."""

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        """Nothing."""


def of_width(folder: Path, width: int, epochs: int, rounds: int, quick: bool) -> dict[str, float]:
    """Seconds of 40 networks as trials and as steps alone, stacked and single, and how far their scores differ."""
    frame, inputs, columns = read_table("mulan/yeast.parquet")
    tasks = sr.TaskSet.from_arrays(inputs, frame[columns].to_numpy(np.float32), names=columns)
    given = {"data": {"npz": "by hand"}, "model": {"width": width, "depth": 2}, "retrain": {"epochs": epochs}}
    config = resolve_recipe(sr.load_config(given), tasks.inputs.shape[1:])
    run = RunDir(folder)
    run.write_config(config)
    write_parts(tasks, run.sub("parts"))
    specs = specs_of(columns, 4 if quick else N_NETWORKS, epochs)
    configs = {"stacked": config, "single": set_values(config, ["retrain.stacked=never"])}
    scores: dict[str, list[float]] = {}

    def as_trials(name: str) -> float:
        run.delete(".networks")
        began = time.monotonic()
        failures = run_trials(run, configs[name], specs, Silent(Console(quiet=True), "retrain"))
        assert not failures, failures
        seconds = time.monotonic() - began
        abouts = [run.read_json(f"{network_folder(spec, config)}/network.json") for spec in specs]
        scores[name] = [value for about in abouts for value in about["course"]]
        return seconds

    def as_steps(name: str) -> float:
        run.delete(".networks")
        own = [replace(spec, probe=True) for spec in specs]
        began = time.process_time()
        train_networks(run, configs[name], own, device="cpu", report=lambda *_: None)
        return time.process_time() - began

    for name in configs:
        as_trials(name)
    seconds = alternate({f"trials, {name}": lambda name=name: as_trials(name) for name in configs}, rounds)
    seconds |= alternate({f"steps, {name}": lambda name=name: as_steps(name) for name in configs}, rounds)
    return seconds | {"difference": float(np.abs(np.subtract(scores["stacked"], scores["single"])).max())}


def specs_of(names: list[str], n_networks: int, epochs: int) -> list[NetworkSpec]:
    """Probes of random groups of 2 to 7 tasks."""
    rng = np.random.default_rng(0)
    groups = [np.sort(rng.choice(len(names), rng.integers(2, 8), replace=False)) for _ in range(n_networks)]
    chosen = [tuple(np.array(names)[group]) for group in groups]
    return [NetworkSpec("search", n, tasks, 0, 0, epochs, probe=True) for n, tasks in enumerate(chosen)]


if __name__ == "__main__":
    main()
