"""Trials beside each other: what they take of two cores, and of the memory.

    python -m jobs.bench.retraining [--quick]

Throughput: four equal one-core networks as trials on a Ray of two cores, two at a time, against two processes of their
own that train two of them each; epochs per second from the first epoch that is done to the last, so that the change
from trial to trial counts. Memory: four processes at a time that train on the same images.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

import stg_ray as sr
from jobs.bench.measure import alternate, show
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.data.parts import read_index, write_parts
from stg_ray.grouping import group_tasks
from stg_ray.progress import StageProgress
from stg_ray.retraining.plans import make_plans, network_specs
from stg_ray.retraining.stage import run as retrain
from stg_ray.retraining.trial import train_network
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.compute import training_process

N_NETWORKS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and epochs, to see that it works")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        speed = throughput(Path(scratch), quick)
        n_bytes, memory = memory_of_four(Path(scratch) / "memory", 2_000 if quick else 20_000)
    ratio = speed["trials"] / speed["processes"]
    data, anonymous, shared = n_bytes / 2**20, memory["anonymous"], memory["proportional"]
    rows = [
        ("epochs per second, trials two at a time", f"{speed['trials']:.2f}", ""),
        ("epochs per second, two processes", f"{speed['processes']:.2f}", ""),
        ("trials against processes", f"{ratio:.2f}", "0.9 or more"),
        ("images on disk", f"{data:.0f} MiB", ""),
        ("four at a time: anonymous memory of all", f"{anonymous:.0f} MiB", "independent of the images"),
        ("four at a time: with their share of mapped files", f"{shared:.0f} MiB", "the images once"),
    ]
    result = {"benchmark": "retraining", "quick": quick, **speed, "ratio": ratio, "data_mib": data, **memory}
    show("Trials beside each other", rows, result)


def prepare(folder: Path, n_images: int, side: int, epochs: int) -> tuple[RunDir, sr.Config]:
    """A run with random images whose groups are made: four of two tasks each."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 3, side, side), dtype=np.uint8)
    labels = rng.integers(0, 2, (n_images, 2 * N_NETWORKS))
    tasks = sr.TaskSet.from_arrays(images, labels)
    retraining = {"epochs": epochs, "plans": ["ours"], "memory_format": "channels_last", "precision": "float32"}
    given = sr.load_config({"data": {"npz": "by hand"}, "model": {"width": 32}, "retrain": retraining})
    config = resolve_recipe(given, images.shape[1:])
    run = RunDir(folder)
    run.write_config(config)
    write_parts(tasks, run.sub("parts"))
    run.write_bytes("profile/network.pt", b"no plan starts from it")
    run.write_json("groups.json", Groups.from_labels(tasks.names, np.arange(8) // 2, "by hand").to_dict())
    return run, config


def train_some(folder: str, numbers: list[int], times: Any = None) -> None:
    """Train in a process of its own: some of the networks, one after the other; the times of its epochs."""
    run = RunDir(folder)
    config = run.read_config()
    tasks = read_index(run.sub("parts")).tasks
    specs = list(network_specs(make_plans(Groups.from_dict(run.read_json("groups.json")), tasks, config), config))
    own: list[float] = []
    for number in numbers:
        with training_process(1):
            train_network(
                run, config, specs[number], device="cpu", report=lambda epoch, _: own.append(time.monotonic())
            )
    if times is not None:
        times.extend(own)


def throughput(folder: Path, quick: bool) -> dict[str, float]:
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    run, config = prepare(folder / "speed", 500 if quick else 4_000, 32, 3 if quick else 8)

    def fresh() -> None:
        run.delete(".networks")

    def by_trials() -> float:
        fresh()
        progress = Times(Console(quiet=True), "retrain")
        retrain(run, config, progress, group_tasks=group_tasks)
        return rate(progress.times)

    def by_processes() -> float:
        fresh()
        with multiprocessing.Manager() as manager:
            times = manager.list()
            together([(run.uri, [i, i + 2], times) for i in range(2)])
            return rate(sorted(times))

    try:
        return alternate({"trials": by_trials, "processes": by_processes}, 1 if quick else 3)
    finally:
        ray.shutdown()


class Times(StageProgress):
    """Notes when how many epochs were done."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console, name)
        self.times: list[float] = []

    def update(self, done: float, total: float, unit: str) -> None:
        self.times += [time.monotonic()] * (int(done) - len(self.times))


def rate(times: list[float]) -> float:
    """Epochs per second, from the first that is done to the last."""
    return (len(times) - 1) / (times[-1] - times[0])


def together(jobs: list[tuple]) -> None:
    """Processes that each train some networks; waited for."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=train_some, args=job) for job in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process ended with exit code {process.exitcode}")


def memory_of_four(folder: Path, n_images: int) -> tuple[int, dict[str, float]]:
    """Bytes of the images, and the peak in MiB over what four processes training on them take at one moment: anonymous
    memory, and all of it with mapped pages divided by how many map them (PSS). The start of Python and torch counts."""
    run, _ = prepare(folder, n_images, 64, 1)
    n_bytes = sum(path.stat().st_size for path in (folder / "parts").glob("*.arrow"))
    peak = {"anonymous": 0.0, "proportional": 0.0}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            now = {"anonymous": 0, "proportional": 0}
            for process in psutil.Process().children():
                try:
                    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                except OSError:
                    continue
                values = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
                now["anonymous"] += values["Anonymous"]
                now["proportional"] += values["Pss"]
            for key in peak:
                peak[key] = max(peak[key], now[key] / 1024)

    thread = threading.Thread(target=look)
    thread.start()
    together([(run.uri, [number]) for number in range(N_NETWORKS)])
    ended.set()
    thread.join()
    return n_bytes, peak


if __name__ == "__main__":
    main()
