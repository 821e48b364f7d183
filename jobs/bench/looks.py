"""What looks at the tasks' effects on each other (`profile.looks`) add to a profile, and what fewer of them lose.

    python -m jobs.bench.looks [--method NAME] [--sets NAME ...] [--every N ...] [--epochs N] [--rounds N]

Networks of all tasks are trained as the profile trains them, without looks and with one every so many steps, in turn.
Shown are the processor's seconds of each above those without (medians), and Spearman's correlation over directed pairs
of the effects with those of a look every `--every`'s first number of steps, in another training (another seed).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import stg_ray as sr
from jobs.bench.affinity_methods import SETS, correlation, rows_of_split
from jobs.bench.measure import alternate, show
from stg_ray.affinities.source import RunSource
from stg_ray.config.loading import load_config
from stg_ray.data.parts import read_index
from stg_ray.models import build_network
from stg_ray.progress import Reporter
from stg_ray.seeds import Stream
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.looks import ProfileLooks
from stg_ray.training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--method", choices=["etap", "tag", "transfer_gain"], default="etap")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["emotions", "yeast"])
    parser.add_argument("--every", nargs="+", type=int, default=[10, 30, 100, 300])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result, rows = {}, []
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        for name in arguments.sets:
            source = laid_out(name, Path(scratch))
            own = looked_at(source, arguments.method, arguments.every, arguments.epochs, arguments.rounds)
            result[name] = own
            rows += [
                (f"{name}, {own['tasks']} tasks: every {every} steps", text(own[str(every)]), "")
                for every in arguments.every
            ]
    about = {"benchmark": "looks", "method": arguments.method, "epochs": arguments.epochs}
    show(f"Looks of {arguments.method} in a profile", rows, {**about, "sets": result})


def laid_out(name: str, folder: Path) -> RunSource:
    """Lay a set out as parts."""
    path = folder / f"{name}.npz"
    np.savez(path, **SETS[name].build(0))
    data = {"npz": str(path), "constant_tasks": "drop", "tasks": {"*": {"missing": [-1]}}}
    config = load_config({"data": data, "affinity": {"methods": ["etap"]}})
    run = sr.run(config, folder / name, until="parts", reporter=Reporter(Console(quiet=True))).run_dir
    return RunSource(run, resolve_recipe(run.read_config(), read_index(run.sub("parts")).input_shape))


def text(own: dict[str, float]) -> str:
    """Return the line of one interval."""
    return f"{own['looks']} looks, +{own['added']:.1%}; correlation {own['correlation']:.2f}"


def looked_at(source: RunSource, method: str, intervals: list[int], epochs: int, rounds: int) -> dict:
    """Measure every interval, beside a training without looks."""
    found: dict[int, list[np.ndarray]] = {every: [] for every in intervals}
    n_looks: dict[int, int] = {}
    seeds = dict.fromkeys([0, *intervals], 0)

    def side(every: int) -> float:
        seed = seeds[every]
        seeds[every] += 1
        rows = rows_of_split(source, "train")
        settings = source.config.profile.model_copy(update={"epochs": epochs, "precision": "float32"})
        network = build_network(source.config.model, source.index, source.index.tasks, seed)
        draws = Draws(seed, Stream.PROFILE_BATCHES)
        batches = CommonBatches(len(rows.samples), settings.batch_size, source.index.labels_per_sample, draws)
        trainer = Trainer(network, rows, batches, settings)
        looks = ProfileLooks(trainer, every, method) if every else None
        began = time.process_time()
        for epoch in range(1, epochs + 1):
            trainer.epoch(epoch, looks.record if looks else None)
            if looks:
                looks.finish_epoch()
        seconds = time.process_time() - began
        if looks:
            sums = looks.arrays(0)
            found[every].append(sums["total"] / np.maximum(sums["count"], 1))
            n_looks[every] = 1 + (looks.n_steps - 1) // every
        return seconds

    seconds = alternate({str(every): lambda every=every: side(every) for every in [0, *intervals]}, rounds)
    off_diagonal = ~np.eye(len(source.index.tasks), dtype=bool)
    most = found[intervals[0]]
    own: dict = {"tasks": len(off_diagonal), "seconds": round(seconds["0"], 2)}
    for every in intervals:
        pairs = [(a, b) for a in range(rounds) for b in range(rounds) if a != b]
        agreements = [correlation(found[every][a][off_diagonal], most[b][off_diagonal]) for a, b in pairs]
        own[str(every)] = {
            "looks": n_looks[every],
            "added": round(seconds[str(every)] / seconds["0"] - 1, 3),
            "correlation": round(statistics.mean(agreements), 3),
        }
    return own


if __name__ == "__main__":
    main()
