"""Trials beside each other: what they take of two cores, and of the memory.

    python -m jobs.bench.retraining [--quick]

Throughput: four equal one-core networks as trials on a Ray of two cores, two at a time, against two processes of their
own that train two of them each; epochs per second from the first epoch that is done to the last, so that the change
from trial to trial counts. Memory: one trial, and four at a time, on as many images as CIFAR-10 has (60,000 of 3 x 32 x
32 bytes), 15 tasks, the default CNN: the peak of what Ray's workers take at one moment.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import run as retrain
from stg_ray.retraining.trial import train_network
from stg_ray.retraining.trials import run_trials
from stg_ray.training.auto import resolve_recipe
from stg_ray.training.compute import training_process

N_NETWORKS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few images and epochs, to see that it works")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as scratch:
        speed = throughput(Path(scratch), quick)
        n_bytes, memory = memory_of_trials(Path(scratch) / "memory", 2_000 if quick else 60_000)
    ratio = speed["trials"] / speed["processes"]
    data, more = n_bytes / 2**20, memory["4, anonymous"] - memory["1, anonymous"]
    rows = [
        ("epochs per second, trials two at a time", f"{speed['trials']:.2f}", ""),
        ("epochs per second, two processes", f"{speed['processes']:.2f}", ""),
        ("trials against processes", f"{ratio:.2f}", "0.9 or more"),
        ("rows on disk", f"{data:.0f} MiB", ""),
        *((f"trials at a time: {what} memory", f"{mib:.0f} MiB", "") for what, mib in memory.items()),
        ("four trials: anonymous memory above that of one", f"{more:.0f} MiB", "below 1229 MiB"),
    ]
    result = {"benchmark": "retraining", "quick": quick, **speed, "ratio": ratio, "data_mib": data, **memory}
    show("Trials beside each other", rows, result)


def prepare(
    folder: Path, n_images: int, side: int, epochs: int, n_tasks: int = 2 * N_NETWORKS
) -> tuple[RunDir, sr.Config]:
    """A run with random images whose groups are made: four of two tasks each."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n_images, 3, side, side), dtype=np.uint8)
    labels = rng.integers(0, 2, (n_images, n_tasks))
    tasks = sr.TaskSet.from_arrays(images, labels)
    retraining = {"epochs": epochs, "plans": ["ours"], "memory_format": "channels_last", "precision": "float32"}
    given = sr.load_config({"data": {"npz": "by hand"}, "model": {"width": 32}, "retrain": retraining})
    config = resolve_recipe(given, images.shape[1:])
    run = RunDir(folder)
    run.write_config(config)
    write_parts(tasks, run.sub("parts"))
    run.write_bytes("profile/network.pt", b"no plan starts from it")
    run.write_json("groups.json", Groups.from_labels(tasks.names, np.arange(n_tasks) // 2, "by hand").to_dict())
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

    with own_ray(2):
        return alternate({"trials": by_trials, "processes": by_processes}, 1 if quick else 3)


class Times(StageProgress):
    """Notes when how many epochs were done."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console, name)
        self.times: list[float] = []

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
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


def memory_of_trials(folder: Path, n_images: int) -> tuple[int, dict[str, float]]:
    """Bytes of the rows on disk, and the peaks in MiB of one trial and of four at a time."""
    run, config = prepare(folder, n_images, 32, 1, n_tasks=15)
    n_bytes = sum(path.stat().st_size for path in (folder / "parts").glob("*.arrow"))
    tasks = tuple(read_index(run.sub("parts")).names)
    specs = [NetworkSpec("memory", seed, tasks, seed, seed, 1) for seed in range(N_NETWORKS)]
    peaks: dict[str, float] = {}
    for at_once in (1, N_NETWORKS):
        with own_ray(at_once):
            looking = Memory()
            failures = run_trials(run, config, specs[:at_once], Times(Console(quiet=True), "retrain"))
            peaks |= {f"{at_once}, {what}": mib for what, mib in looking.ends().items()}
            assert not failures, failures
        run.delete(".networks")
    return n_bytes, peaks


class Memory:
    """Looks at the memory of Ray's workers until it is told to end: anonymous, and all of it with mapped pages divided
    by how many processes map them (PSS); Python, torch and Ray count."""

    def __init__(self) -> None:
        self.peaks = {"anonymous": 0.0, "proportional": 0.0}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            now = dict.fromkeys(self.peaks, 0)
            for process in psutil.Process().children(recursive=True):
                try:
                    if not process.name().startswith("ray::"):
                        continue
                    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
                except (OSError, psutil.Error):
                    continue
                values = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
                now["anonymous"] += values["Anonymous"]
                now["proportional"] += values["Pss"]
            self.peaks = {what: max(mib, now[what] / 1024) for what, mib in self.peaks.items()}

    def ends(self) -> dict[str, float]:
        """End, and return the peaks in MiB."""
        self._ended.set()
        self._thread.join()
        return self.peaks


@contextmanager
def own_ray(num_cpus: int) -> Iterator[None]:
    """A Ray of its own with as many CPUs, whatever the machine has."""
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    import ray

    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
