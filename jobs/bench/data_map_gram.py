"""Distances of a thousand tasks from the data maps of a million samples, on Ray: seconds, and every process's memory.

    python -m jobs.bench.data_map_gram [--quick] [--tasks 1000] [--samples 1000000]

The states are made for this: one part of 8,192 random samples on disk, which all parts are names of, so that the disk
need not hold 8 GB. Every part is read and computed on its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import psutil
import ray
from rich.console import Console

from jobs.bench.measure import show
from stg_ray.affinities.stage import run as compute_affinities
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.config.loading import load_config
from stg_ray.data.parts import PartIndex, part_name
from stg_ray.data_maps.state import DataMapState
from stg_ray.grouping import group_tasks
from stg_ray.progress import Reporter
from stg_ray.retraining.meta_profile import meta_profile
from stg_ray.tasks import Task

PART_ROWS = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--tasks", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--make", nargs=3, metavar="ARG", help=argparse.SUPPRESS)  # not in the driver that is measured
    arguments = parser.parse_args()
    if arguments.make:
        make_states(RunDir(arguments.make[0]), *map(int, arguments.make[1:]))
        return
    quick = arguments.quick
    n_samples, n_tasks = (40_000, 200) if quick else (arguments.samples, arguments.tasks)
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
        run = RunDir(folder)
        subprocess.run(
            [sys.executable, "-m", "jobs.bench.data_map_gram", "--make", folder, str(n_samples), str(n_tasks)],
            check=True,
        )
        config = load_config({"data": {"npz": "random"}, "affinity": {"methods": ["data_map"]}})
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        watch = Watch()
        watch.start()
        began = time.perf_counter()
        with Reporter(Console(quiet=True)).stage("affinity") as progress:
            compute_affinities(run, config, progress, group_tasks=group_tasks, meta_profile=meta_profile)
        seconds = time.perf_counter() - began
        watch.ended.set()
        watch.join()
        ray.shutdown()
    mib = 2**20
    show(
        f"Data-map distances of {n_tasks:,} tasks over {n_samples:,} samples in parts of {PART_ROWS:,}",
        [
            ("seconds", f"{seconds:.1f}", ""),
            ("driver, resident", f"{watch.driver / mib:.0f} MiB", "500 MB"),
            ("driver, not mapped from files", f"{watch.driver_own / mib:.0f} MiB", ""),
            ("largest actor, resident", f"{watch.actor / mib:.0f} MiB", "2048 MiB"),
        ],
        {
            "benchmark": "data_map_gram",
            "quick": quick,
            "cpus": os.cpu_count(),
            "samples": n_samples,
            "tasks": n_tasks,
            "seconds": seconds,
            "driver_mib": watch.driver / mib,
            "driver_own_mib": watch.driver_own / mib,
            "actor_mib": watch.actor / mib,
        },
    )


def make_states(run: RunDir, n_samples: int, n_tasks: int) -> None:
    rng = np.random.default_rng(0)
    full, rest = divmod(n_samples, PART_ROWS)
    rows = [PART_ROWS] * full + ([rest] if rest else [])
    for size in sorted(set(rows)):
        mean = rng.random((size, n_tasks), dtype=np.float32)
        state = DataMapState(np.full(size, 6, np.int32), mean, mean * 0.1)
        run.write_arrow(f"state-{size}.arrow", state.to_batch(np.arange(size)))
    for number, size in enumerate(rows):
        run.copy(f"state-{size}.arrow", f"profile/data_map/epoch-0006/{part_name('train', number)}.arrow")
    tasks = tuple(Task(f"task {t}") for t in range(n_tasks))
    index = PartIndex(tasks, (64,), (0.0,), (1.0,), float(n_tasks), 1.0, {"train": rows, "val": [], "test": []})
    run.write_json("parts/index.json", index.to_dict())


class Watch(threading.Thread):
    """Peaks of the driver's and of the actors' memory, looked at twenty times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.driver = self.driver_own = self.actor = 0

    def run(self) -> None:
        me = psutil.Process()
        while not self.ended.wait(0.05):
            memory = me.memory_info()
            self.driver = max(self.driver, memory.rss)
            self.driver_own = max(self.driver_own, memory.rss - memory.shared)
            for child in me.children(recursive=True):
                try:
                    if child.name().startswith("ray::AffinityAc"):
                        self.actor = max(self.actor, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


if __name__ == "__main__":
    main()
