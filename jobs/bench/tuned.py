"""The default configuration against the best of a search: the network of all tasks, on real task sets.

    STG_RAY_DATA=... python -m jobs.bench.tuned [--sets yeast ...] [--trials 40] [--seeds 2] [--keep FOLDER] [--quick]

Each set is tuned by the tune stage of a run, on validation rows; then the networks of the default configuration, of
that of version 0.1 (but for the length of trainings), and of the one that was found are trained alike, with several
seeds, and scored on the test rows, which decide nothing. What is finished is kept in a folder by its fingerprint, and
taken from there the next time. The ratio of a score to that of tuning says how much of what tuning reaches it has;
sets whose scores are not positive are left out of the mean. The defaults were chosen on training rows of these sets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stg_ray as sr
from jobs.bench.measure import show
from jobs.bench.recipe import SETS
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.config.recipes import OTHERS
from stg_ray.config.tuning import with_tuned
from stg_ray.data.parts import read_index
from stg_ray.report.tuning import Tuning
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.training.metrics import LEAST_R2, primary_metric

DEFAULT = ["emotions", "yeast", "scene", "sider", "tox21", "bibtex", "delicious", "toxcast", "school"]
OF_0_1: dict[str, int | float] = dict(vars(OTHERS))
EXPECTED = 0.97
"""Least mean ratio that the defaults should have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=DEFAULT)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=2, help="trainings of either network")
    parser.add_argument("--keep", metavar="FOLDER", help="where runs are kept, to go on from there")
    parser.add_argument("--quick", action="store_true", help="one set, 300 rows, four trials, to see that it works")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names, trials, seeds = arguments.sets, arguments.trials, arguments.seeds
    if arguments.quick:
        names, trials, seeds = ["digits"], 4, 1
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as temporary:
        folder = Path(arguments.keep or temporary)
        sets = {name: compared(name, folder, trials, seeds, quick=arguments.quick) for name in names}
    scored = [own for own in sets.values() if min(own["default"], own["0.1"], own["tuned"]) > 0]
    ratios = {how: float(np.mean([s[how] / s["tuned"] for s in scored])) for how in ("default", "0.1")}
    rows = [
        (name, ", ".join(f"{how} {s[how]:.4f}" for how in (*ratios, "tuned")), f"{s['seconds']:.0f} s")
        for name, s in sets.items()
    ]
    about = f"ratio to tuned, mean of {len(scored)} sets"
    rows += [
        (f"{how}: {about}", f"{ratio:.3f}", f"{EXPECTED} or more" if how == "default" else "")
        for how, ratio in ratios.items()
    ]
    result = {"benchmark": "tuned", "quick": arguments.quick, "sets": sets, "ratios": ratios}
    show("Defaults against tuning", rows, result)


def compared(name: str, folder: Path, trials: int, seeds: int, *, quick: bool) -> dict[str, Any]:
    """Tune on a set, and score the network as configured and as tuned; the seconds are those of this call."""
    began = time.monotonic()
    data = SETS[name] | ({"limit": 300} if quick else {})
    epochs: dict[str, Any] = {"epochs": 4} if quick else {"epochs": "auto"}
    training = {**epochs, "precision": "float32", "memory_format": "contiguous"}
    sections = {"data": data, "profile": training, "retrain": training, "tune": {"trials": trials}}
    # Nothing is grouped: any affinity will do that all sets have.
    config = sr.load_config({**sections, "affinity": {"methods": ["landscape"]}})
    out = folder / f"{name}-{config.fingerprint(('seed', 'data', 'metric', 'model', 'profile', 'tune'))}"
    run = sr.run(config, out, until="tune").run_dir
    config = run.read_config()  # with the recipe of the trunk
    tuning = Tuning.of(run, config)
    assert tuning is not None, "it was asked for"
    print(f"{name}: {tuning.sentence}", flush=True)
    configs = {"default": config, "0.1": with_tuned(config, OF_0_1), "tuned": as_tuned(run, config)}
    scores = {
        how: float(np.mean([test_score(run, each, seed) for seed in range(seeds)])) for how, each in configs.items()
    }
    seconds = time.monotonic() - began
    print(f"{name}: {', '.join(f'{how} {score:.4f}' for how, score in scores.items())}, {seconds:.0f} s", flush=True)
    return {**scores, "seconds": round(seconds, 1), "found": tuning.found["found"]}


def test_score(run: RunDir, config: sr.Config, seed: int) -> float:
    """Train the network of all tasks; the mean primary metric of its tasks on the test rows."""
    tasks = read_index(run.sub("parts")).tasks
    spec = NetworkSpec("all_in_one", 0, tuple(task.name for task in tasks), seed, seed, config.retrain.epochs)
    train_network(run, config, spec, device="cpu", report=lambda *_: None)
    scores = run.read_json(f"{network_folder(spec, config)}/network.json")["scores"]["test"]
    values = np.array([scores[task.name][primary_metric(task, config.metric)] for task in tasks])
    floors = np.array([LEAST_R2 if primary_metric(task, config.metric) == "r2" else -np.inf for task in tasks])
    return float(np.nanmean(np.maximum(values, floors)))


if __name__ == "__main__":
    main()
