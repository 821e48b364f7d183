"""Choice of the affinity's defaults: whose gradients to compare, and the weight of the landscape beside the data
maps. On several known groupings.

    STG_RAY_DATA=... python -m jobs.bench.affinity_defaults [--quick] [--keep FOLDER] [--sets cifar100 ...]

Each set is profiled with three seeds, and 1,024 rows are looked at. Printed is the adjusted Rand index of spectral
groups, as many as are known, against the known ones: by the gradients of the trunk's last layer and of all its
parameters, with the seconds of one thread; and by the data maps and the landscape of the last layer together, by the
landscape's share of the weights.

    cifar100    100 classes against the rest, 25,000 images; 20 super-classes
    cifar10     10 classes, 20,000 images; machines and animals
    yeast       14 labels, each four times with a tenth of its values turned at random: 14 groups of 4; an MLP
    tox21       12 labels in the same way, of which 17 % are missing
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from jobs.bench.grouping_matters import SETS
from jobs.bench.measure import show
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.cluster.session import session
from stg_ray.config.loading import set_values
from stg_ray.data.sources import load_task_set
from stg_ray.models import load_weights
from stg_ray.progress import Reporter
from stg_ray.tasks import SPLITS

SEEDS = 3
LAYERS = ("last", "all")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
COPIES, TURNED = 4, 0.1
MACHINES = {"airplane", "automobile", "ship", "truck"}
PROFILES: dict[str, dict[str, Any]] = {
    "cifar100": {"data": {"preset": "cifar100", "limit": 25_000}, "epochs": 6},
    "cifar10": {"data": {"preset": "cifar10", "limit": 20_000}, "epochs": 5},
    "yeast": {"epochs": 10},
    "tox21": {"epochs": 10},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rows and one seed, to see that it works")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the profiles here, and use those that are there")
    parser.add_argument("--sets", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    arguments = parser.parse_args()
    if "STG_RAY_DATA" not in os.environ:
        raise SystemExit("set STG_RAY_DATA to a folder with cifar10/, cifar100/, mulan/ and molecules/")
    rows, result = [], {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch, session(None):
        folder = Path(arguments.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.sets:
            own = [measured(name, seed, folder, arguments.quick) for seed in range(1 if arguments.quick else SEEDS)]
            result[name] = own
            for layers in LAYERS:
                scores, seconds = np.array([found["layers"][layers] for found in own]).T
                rows.append((f"{name}: {layers}", f"{_text(scores)}; {np.median(seconds):.0f} s", ""))
            for share in SHARES:
                scores = np.array([found["shares"][share] for found in own])
                rows.append((f"{name}: landscape's share {share:.2f}", _text(scores), ""))
    show("Defaults of the affinity", rows, {"benchmark": "affinity_defaults", "quick": arguments.quick, "sets": result})


def _text(scores: np.ndarray) -> str:
    return f"ARI {scores.mean():.3f} ({', '.join(f'{value:.2f}' for value in scores)})"


def measured(name: str, seed: int, folder: Path, quick: bool) -> dict[str, dict]:
    """By layers: agreement with the known groups, and seconds; by the landscape's share: agreement."""
    about = PROFILES[name]
    data = about.get("data") or {"npz": copies_of(name, folder)}
    values = {
        "seed": seed,
        "data": data | ({"limit": 2000} if quick else {}),
        "profile": {"epochs": 1 if quick else about["epochs"]},
        "affinity": {"methods": ["data_map"], "samples": 128 if quick else 1024},
    }
    config = sr.load_config(values)
    out = str(folder / f"{name}-{seed}")
    run = sr.run(config, out, until="affinity", reporter=Reporter(Console(quiet=True))).run_dir
    data_map = TaskMatrix.from_table(run.read_parquet("affinity/data_map.parquet"))
    matrices, seconds = {}, {}
    for layers in LAYERS:
        began = time.monotonic()
        matrices[layers], truth = landscape(run, set_values(config, [f"affinity.layers={layers}"]))
        seconds[layers] = time.monotonic() - began

    def score(affinities: list[TaskMatrix], weights: list[float] | None = None) -> float:
        groups = sr.group(affinities, weights=weights, n_groups=len(set(truth)))
        return float(adjusted_rand_score(truth, groups.labels))

    both = [data_map, matrices["last"]]
    return {
        "layers": {layers: (score([matrices[layers]]), seconds[layers]) for layers in LAYERS},
        "shares": {share: score(both, [1 - share, share]) for share in SHARES},
    }


def landscape(run: RunDir, config: sr.Config) -> tuple[TaskMatrix, list[str]]:
    """The distances at the profiled network, and the known group of each task."""
    torch.set_num_threads(1)
    source = RunSource(run, config, load_weights(run, "profile/network.pt"))
    estimator = LandscapeDistance(source)
    partials = (estimator.partial(number) for number in range(estimator.n_units(source)))
    matrix = LandscapeDistance.combine(partials, source.index.tasks)
    if source.index.names[0] in MACHINES:
        return matrix, ["machine" if name in MACHINES else "animal" for name in source.index.names]
    return matrix, [str(task.group) for task in source.index.tasks]


def copies_of(name: str, folder: Path) -> str:
    """A file with the labels of a set several times over, each time with some of their values turned."""
    path = folder / f"{name}-copies.npz"
    if not path.exists():
        task_set = load_task_set(sr.load_config({"data": SETS[name]["data"]}).data, 0)
        rng = np.random.default_rng(0)
        labels = np.repeat(task_set.labels, COPIES, axis=1)
        turned = (rng.random(labels.shape) < TURNED) & (labels >= 0)
        names = [f"{task.name} {copy}" for task in task_set.tasks for copy in range(COPIES)]
        groups = [task.name for task in task_set.tasks for _ in range(COPIES)]
        np.savez(
            path,
            inputs=task_set.inputs,
            labels=np.where(turned, 1 - labels, labels),
            names=names,
            groups=groups,
            split=np.array(SPLITS)[task_set.split],
        )
    return str(path)


if __name__ == "__main__":
    main()
