"""What short trainings tell: gains of random groups by short trainings on validation rows, and by full ones on test.

    STG_RAY_DATA=... python -m jobs.bench.short_trainings [--sets NAME ...] [--groups 30] [--keep FOLDER]

Networks of random groups of tasks, and one of all tasks, are trained in full three times from scratch, and for a tenth,
a fifth and half of the length from scratch and from the profile. Gains are scores less those of the network of all
tasks that was trained alike; compared are the ranks of all tasks in all groups with the mean gains of full trainings
on test rows (a full training with the others' mean). `search.start` and `search.length` stand on this. Where the trunk
has several layers, short trainings from the profile are also made with half of them frozen (`search.frozen`), and the
seconds of both are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy.stats import spearmanr

import stg_ray as sr
from jobs.bench.known_sets import KNOWN_SETS, KnownSet, images
from jobs.bench.measure import show
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.progress import Reporter
from stg_ray.retraining.frozen import features_folder, parts_of_features, write_index, write_part
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network

NARROW = {"trunk": "mlp", "width": 16, "depth": 1}
ABOUT: dict[str, tuple[KnownSet, int, dict[str, Any]]] = {
    "conflict": (KNOWN_SETS["conflict"], 40, NARROW),
    "yeast": (KNOWN_SETS["yeast"], 20, NARROW | {"width": 64}),
    "conflict, three layers": (KNOWN_SETS["conflict"], 40, NARROW | {"depth": 3}),
    "yeast, three layers": (KNOWN_SETS["yeast"], 20, NARROW | {"width": 64, "depth": 3}),
    "cifar10, cnn": (KnownSet(images("cifar10", 2_500), 8, "cifar10"), 10, {"trunk": "cnn"}),
}
"""The set, epochs of a full training, and a narrow network, in which tasks are in each other's way."""
FROZEN = 0.5
FULL = ("full 0", "full 1", "full 2")
SHARES = (0.1, 0.2, 0.5)

Job = tuple[str, dict[str, Any], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=list(ABOUT), default=["conflict", "yeast"])
    parser.add_argument("--groups", type=int, default=30, help="number of random groups")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the networks here, and go on with those that are there")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list = []
    result: dict[str, Any] = {"benchmark": "short_trainings", "groups": arguments.groups, "sets": {}}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        for name in arguments.sets:
            began = time.monotonic()
            found = compared(name, Path(arguments.keep or scratch), arguments.groups)
            rows += [
                (f"{name}: {what}", f"{value:.2f}" if "seconds" in what else f"{value:+.2f}", "")
                for what, value in found.items()
            ]
            result["sets"][name] = {what: round(value, 3) for what, value in found.items()}
            result["sets"][name]["seconds"] = round(time.monotonic() - began, 1)
    show("Rank correlation with the gains of full trainings", rows, result)


def compared(name: str, folder: Path, n_groups: int) -> dict[str, float]:
    """Train what is not there yet, and return the rank correlations by the kind of training."""
    run = profiled(name, folder)
    config, storage = run.config, run.run_dir
    names = list(read_index(storage.sub("parts")).names)
    start = hashlib.sha256(storage.read_bytes("profile/network.pt")).hexdigest()[:16]
    groups, kinds = random_groups(names, n_groups), trainings(name, start)
    specs = {
        (kind, group): NetworkSpec(
            "bench", 0, group, seed, seed, epochs, start=from_profile, probe=kind not in FULL, frozen=frozen
        )
        for kind, (seed, epochs, from_profile, frozen) in kinds.items()
        for group in groups
    }
    jobs: list[Job] = [
        (storage.uri, config.model_dump(), spec.to_dict())
        for spec in specs.values()
        if not is_finished(storage, network_folder(spec, config))
    ]
    if any(spec.frozen for spec in specs.values()):
        write_features(storage, config, start)
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(train, jobs, chunksize=4):
            pass

    def about(kind: str, group: tuple[str, ...]) -> dict[str, Any]:
        """What is known of a network."""
        found: dict[str, Any] = storage.read_json(f"{network_folder(specs[kind, group], config)}/network.json")
        return found

    def gains(kind: str, split: str) -> np.ndarray:
        """(M, K) gains of the tasks of the random groups; NaN where a task is not in a group."""
        scores = np.full((len(groups), len(names)), np.nan)
        for m, group in enumerate(groups):
            own = about(kind, group)["scores"][split]
            for task, metrics in own.items():
                scores[m, names.index(task)] = metrics["average_precision"]
        return np.asarray(scores[1:] - scores[0])

    full = {kind: gains(kind, "test") for kind in FULL}
    found = {}
    for kind in kinds:
        others = np.mean([full[other] for other in FULL if other != kind], axis=0)
        short = gains(kind, "val")
        known = np.isfinite(short) & np.isfinite(others)
        found[kind] = float(spearmanr(short[known], others[known])[0])
        if kind not in FULL:
            seconds = [about(kind, group)["seconds"] for group in groups]
            found[f"{kind}: seconds a network"] = float(np.median(seconds))
    return found


def profiled(name: str, folder: Path) -> sr.Run:
    """Profile a set with a narrow network, in which tasks are in each other's way."""
    folder.mkdir(parents=True, exist_ok=True)
    known, epochs, model = ABOUT[name]
    path = folder / f"{name}.npz"
    if not path.exists():
        arrays = dict(known.build(0))
        arrays.pop("groups", None)
        np.savez(path, split=np.where(np.arange(len(arrays["inputs"])) % 4 == 3, "test", "train"), **arrays)
    training = {"epochs": epochs, "batch_size": 32, "precision": "float32", "memory_format": "contiguous"}
    config = sr.load_config(
        {
            "data": {"npz": str(path), "constant_tasks": "drop", "tasks": {"*": {"missing": [-1]}}},
            "model": model,
            "profile": {"workers": 1, **training},
            "affinity": {"methods": ["label_correlation"]},
            "retrain": training,
        }
    )
    return sr.run(config, str(folder / name), until="profile", reporter=Reporter(Console(quiet=True)))


def random_groups(names: list[str], n_groups: int) -> list[tuple[str, ...]]:
    """All tasks, then different random groups of two tasks to half of them."""
    rng = np.random.default_rng(1)
    groups = [tuple(names)]
    while len(groups) <= n_groups:
        size = rng.integers(2, max(3, len(names) // 2 + 1))
        group = tuple(names[t] for t in sorted(rng.choice(len(names), size, replace=False)))
        if group not in groups:
            groups.append(group)
    return groups


def trainings(name: str, start: str) -> dict[str, tuple[int, int, str | None, float]]:
    """Seed, epochs, start and frozen share of each kind of training; the short ones have draws of their own."""
    _, epochs, model = ABOUT[name]
    kinds: dict[str, tuple[int, int, str | None, float]] = {
        kind: (seed, epochs, None, 0.0) for seed, kind in enumerate(FULL)
    }
    places = {"from profile": (start, 0.0), "from scratch": (None, 0.0)}
    if model.get("depth") != 1:
        places["frozen"] = (start, FROZEN)
    for place, (from_profile, frozen) in places.items():
        for share in SHARES:
            kinds[f"{place}, {share}"] = (len(FULL), max(1, round(share * epochs)), from_profile, frozen)
    return kinds


def write_features(storage: Storage, config: Config, start: str) -> None:
    """Compute the features of the frozen layers, once."""
    index, folder = read_index(storage.sub("parts")), features_folder(storage, start, FROZEN)
    if storage.exists(f"{folder}/index.json"):
        return
    for part in parts_of_features(index):
        write_part(storage, config, folder, FROZEN, *part, "cpu")
    write_index(storage, folder)


def train(job: Job) -> None:
    """Train a network in a process of the pool."""
    import torch

    torch.set_num_threads(1)
    uri, config, spec = job
    network = NetworkSpec.from_dict(spec)
    train_network(Storage(uri), Config.model_validate(config), network, device="cpu", report=lambda *_: None)


if __name__ == "__main__":
    main()
