"""The whole path on a simulated cluster: every node is a Ray node of this machine, with one CPU in name.

    python -m jobs.bench.many_nodes [--nodes 16]

The work is tiny: 12 planted tasks, a part of some 70 rows for each node, a profile on four workers, data maps and the
landscape on as many actors as there are nodes, groups, a short search, and the networks of all plans as trials, one for
each CPU at a time. What it takes is mostly the start of that many processes on the cores that there are; it shows that
placement, actors, trials, files and the end hold at this number of nodes.
"""

from __future__ import annotations

import argparse
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
from jobs.bench.measure import show
from jobs.bench.planted_sets import conflict
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.progress import Reporter

ACTOR, TRIAL = "ray::AffinityAc", "ray::ImplicitFu"
"""Beginnings of the names of processes, which the system cuts off."""
PLANS = ["ours", "searched", "all_in_one", "all_in_one_ensemble", "random"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=16)
    arguments = parser.parse_args()
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    began = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(arguments.nodes - 1):
        cluster.add_node(wait=False, **node)
    cluster.wait_for_nodes(timeout=600)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    up = time.monotonic() - began
    watch = Watch()
    watch.start()
    try:
        with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
            run = sr.run(settings(Path(folder), arguments.nodes), Path(folder) / "run", reporter=Reporter(Console()))
            seconds = {stage: run.run_dir.read_json(f".stages/{stage}.json")["seconds"] for stage in run.config.stages}
            networks = len(run.run_dir.list(".networks"))
    finally:
        watch.ended.set()
        ray.shutdown()
        cluster.shutdown()
    rows = [(f"{arguments.nodes} nodes are up", f"{up:.0f} s", "")]
    rows += [(stage, f"{own:.1f} s", "") for stage, own in seconds.items()]
    rows += [
        ("networks", f"{networks}", ""),
        ("affinity actors at once", f"{watch.most[ACTOR]}", f"{arguments.nodes}"),
        ("trials at once", f"{watch.most[TRIAL]}", f"up to {arguments.nodes}"),
    ]
    show("The whole path on a simulated cluster", rows, {"nodes": arguments.nodes, "seconds": seconds} | watch.most)


def settings(folder: Path, n_nodes: int) -> dict[str, Any]:
    arrays = conflict(0)
    rows = np.resize(np.arange(len(arrays["inputs"])), 100 * n_nodes)
    np.savez(folder / "tasks.npz", inputs=arrays["inputs"][rows], labels=arrays["labels"][rows])
    return {
        "data": {"npz": str(folder / "tasks.npz"), "part_rows": 70, "tasks": {"*": {"kind": "binary"}}},
        "model": {"trunk": "mlp", "width": 16},
        "profile": {"epochs": 2, "workers": 4, "batch_size": 256},
        "affinity": {"methods": ["data_map", "landscape"]},
        "grouping": {"groups": 3},
        "search": {"cost": 2.0},
        "retrain": {"plans": PLANS, "epochs": 3, "seeds": 5, "stacked": "never"},
    }


class Watch(threading.Thread):
    """Counts the processes of each kind that there are at once."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.most = {ACTOR: 0, TRIAL: 0}

    def run(self) -> None:
        while not self.ended.wait(0.5):
            names = [process.info["name"] for process in psutil.process_iter(["name"])]
            for kind, most in self.most.items():
                self.most[kind] = max(most, sum(name.startswith(kind) for name in names))


if __name__ == "__main__":
    main()
