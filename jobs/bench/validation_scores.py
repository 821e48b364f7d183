"""Are scores on validation rows fair to plans of few and of many tasks to a network?

    STG_RAY_DATA=... python -m jobs.bench.validation_scores [--sets yeast emotions scene] [--splits 10] [--keep FOLDER]

Networks of one task, of random groups of about three, and of all tasks are trained with the defaults (`epochs: auto`),
on several random splits of the rows. The gain of the first two over the last is measured on test rows, and on
validation rows in two ways: by the epoch that is kept, which these rows have chosen, and cross-fitted, as a run
compares plans. By how much a gain on validation rows is larger than on test rows is what the choice of the epoch adds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import stg_ray as sr
from jobs.bench.compared_sets import REAL
from jobs.bench.known_sets import told
from jobs.bench.measure import show
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.progress import Reporter
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.scoring import scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.serving import load_network
from stg_ray.training.evaluation import evaluate
from stg_ray.training.metrics import primary_metric

N_WHOLE = 4
"""Networks of all tasks, whose mean is what the others are compared with."""
TASKS_OF_A_GROUP = 3
WAYS = ("test", "kept epoch", "cross-fitted")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(REAL), default=["yeast", "emotions", "scene"])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--keep", metavar="FOLDER", help="keep the networks here, and go on with those that are there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str, str]] = []
    result: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        for name in arguments.sets:
            gains = [gains_of(name, split, Path(arguments.keep or scratch)) for split in range(arguments.splits)]
            result[name] = {}
            for kind in gains[0]:
                values = np.array([own[kind] for own in gains])  # (splits, ways)
                excess = values[:, 1:] - values[:, :1]
                errors = excess.std(axis=0, ddof=1) / np.sqrt(len(excess))
                result[name][kind] = {
                    "gain": float(values[:, 0].mean()),
                    "excess": dict(zip(WAYS[1:], excess.mean(axis=0).tolist(), strict=True)),
                    "errors": dict(zip(WAYS[1:], errors.tolist(), strict=True)),
                }
                rows.append((f"{name}, {kind}: gain over one network, on test rows", f"{values[:, 0].mean():+.4f}", ""))
                for way, mean, error in zip(WAYS[1:], excess.mean(axis=0), errors, strict=True):
                    bound = "0 within two errors" if way == "cross-fitted" else ""
                    rows.append((f"{name}, {kind}: {way}, more than that", f"{mean:+.4f} +- {error:.4f}", bound))
    about = {"benchmark": "validation_scores", "splits": arguments.splits}
    show("Scores on validation rows", rows, {**about, "sets": result})


def gains_of(name: str, split: int, folder: Path) -> dict[str, list[float]]:
    """Train the networks on one split, and return the mean gain over tasks of each kind, by each of `WAYS`."""
    folder.mkdir(parents=True, exist_ok=True)
    path, rng = folder / f"{name}-{split}.npz", np.random.default_rng([5, split])
    arrays = dict(REAL[name].build(0))
    arrays["split"] = np.where(rng.permutation(len(arrays["inputs"])) % 4 == 3, "test", "train")
    np.savez(path, **arrays)
    data = {"npz": str(path), "constant_tasks": "drop", "tasks": told(arrays)}
    config = sr.load_config({"data": data, "seed": split})
    run = sr.run(config, folder / f"{name}-{split}", until="parts", reporter=Reporter(Console(quiet=True))).run_dir
    config = run.read_config()  # with the recipe of the trunk
    n_tasks = len(read_index(run.sub("parts")).names)
    order = rng.permutation(n_tasks)
    groups = [group.tolist() for group in np.array_split(order, max(2, round(n_tasks / TASKS_OF_A_GROUP)))]
    whole = np.mean([scores(run, config, range(n_tasks), 100 * split + n) for n in range(N_WHOLE)], axis=0)
    kinds = {"a network for each task": [[t] for t in range(n_tasks)], "random groups": groups}
    gains = {}
    for kind, members in kinds.items():
        own = np.empty_like(whole)
        for group in members:
            own[:, group] = scores(run, config, group, 100 * split)
        defined = np.isfinite(own - whole).all(axis=0)  # a task may be too rare for a score
        gains[kind] = (own - whole)[:, defined].mean(axis=1).tolist()
    return gains


def scores(run: RunDir, config: sr.Config, tasks: Sequence[int], draws: int) -> np.ndarray:
    """Train a network, and return the scores (ways, k) of its tasks."""
    index = read_index(run.sub("parts"))
    names = tuple(index.names[t] for t in tasks)
    spec = NetworkSpec("all_in_one", 0, names, config.seed, draws, config.retrain.epochs)
    train_network(run, config, spec, device="cpu", report=lambda *_: None)
    folder = network_folder(spec, config)
    network, rows = load_network(run, config, index, names, folder), TaskRows(run.sub("parts"), index, "val", tasks)
    by_way = run.read_json(f"{folder}/network.json")["scores"]
    of_kept = scores_of(network.layout, evaluate(network, rows.inputs), rows.labels, config.metric)
    metrics = {index.names[t]: primary_metric(index.tasks[t], config.metric) for t in tasks}
    ways = by_way["test"], of_kept, by_way["val"]
    return np.array([[own[name][metric] for name, metric in metrics.items()] for own in ways])


if __name__ == "__main__":
    main()
