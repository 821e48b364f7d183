"""Costs of a cluster to the affinity stage per part and per node, and where adding workers ceases to help.

Measured on simulated nodes (Ray nodes of this machine, a CPU in name each): the driver's own time per part, which is
serial whatever the number of workers, and the time until all nodes' actors are up. Measured without Ray: the time in
which the driver adds a part's K x K sums. From these, for W workers that take w seconds for a part,

    seconds of a part = max(w / W, driver) + adding

where `driver` is the driver's seconds per part while others work, and `adding` its seconds per part at the end, a + b
K^2. Workers stop to help where w / W = driver; what they then reach at most is w / (driver + adding) workers' worth.

Assumptions: parts take equally long; the storage gives all workers what one gets here; nodes cost the driver what they
cost on one machine (a network adds latency, which overlaps, not work); W workers have W parts or more.

It also runs digits as it is and takes off what was spent in training and in computing affinities.

    python -m jobs.bench.scaling [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

import stg_ray as sr
from jobs.bench.measure import show, timed
from stg_ray.affinities.actor import partial_name
from stg_ray.affinities.base import ratio_of_sums
from stg_ray.affinities.estimators import ESTIMATORS, estimator_of
from stg_ray.affinities.pool import ActorPool
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.placement import cpus_here, place
from stg_ray.data.parts import write_parts
from stg_ray.models import load_weights
from stg_ray.progress import StageProgress

METHOD = "label_correlation"
PART_SECONDS = (0.1, 1.0, 10.0)
"""Seconds that a part may take: label correlations, the landscape of a small network, that of a ResNet."""
WORKERS = (1, 8, 64, 512)
DIGITS_SECONDS = 60.0


class Quiet(StageProgress):
    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        pass


def run_with_parts(folder: Path, n_parts: int) -> tuple[RunDir, sr.Config]:
    """A run of small parts, whose label correlations take next to nothing."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (8 * n_parts, 15))
    run = RunDir(folder)
    index = write_parts(
        sr.TaskSet.from_arrays(rng.normal(size=(len(labels), 4)), labels), run.sub("parts"), part_rows=5
    )
    assert index.n_parts() >= n_parts
    return run, sr.load_config({"data": {"npz": "none"}, "affinity": {"methods": [METHOD]}})


def per_part(folder: Path, n_nodes: int, n_parts: int) -> dict[str, float]:
    """Seconds on a cluster of so many nodes: until its actors are up, per part, and of those the driver's own."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(n_nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        run, config = run_with_parts(folder, n_parts)
        assert place([node["Resources"] for node in ray.nodes()], config.affinity.gpus).at_once == n_nodes
        with ActorPool(run, config, None, Quiet(Console(quiet=True), "affinity")) as pool:
            up = timed(lambda: pool.compute([(METHOD, number) for number in range(n_nodes)], 0, n_parts))
        with ActorPool(run, config, None, Quiet(Console(quiet=True), "affinity")) as pool:
            pool.compute([(METHOD, number) for number in range(n_nodes)], 0, n_parts)
            began, own = time.monotonic(), time.process_time()
            pool.compute([(METHOD, number) for number in range(n_nodes, n_parts)], 0, n_parts)
            n = n_parts - n_nodes
            return {"up": up, "part": (time.monotonic() - began) / n, "driver": (time.process_time() - own) / n}
    finally:
        ray.shutdown()
        cluster.shutdown()


def adding(n_tasks: int, n_parts: int) -> float:
    """Seconds in which the sums of a part are read and added."""
    rng = np.random.default_rng(0)
    one = {"total": rng.random((n_tasks, n_tasks)), "count": np.ones((n_tasks, n_tasks)), "samples": np.array(1)}
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(folder)
        for number in range(n_parts):
            run.write_arrays(partial_name("data_map", number), one)
        read = (run.read_arrays(partial_name("data_map", number)) for number in range(n_parts))
        return timed(lambda: ratio_of_sums(read, "total", "count")) / n_parts


def digits(folder: Path) -> tuple[float, float]:
    """Seconds of the whole run, and those of it in which networks are trained and affinities computed."""
    command = [sys.executable, "-m", "stg_ray", "run", "digits", "--out", str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    whole = timed(lambda: subprocess.run(command, check=True, capture_output=True, env=environment))
    run = RunDir(folder)
    config, cpus = run.read_config(), cpus_here()
    epochs = run.read_parquet("profile/metrics.parquet").to_pandas().groupby("epoch")["seconds"].first()
    networks = sum(run.read_json(f".networks/{name}/network.json")["seconds"] for name in run.list(".networks"))
    source = RunSource(run, config, load_weights(run, "profile/network.pt"))

    def affinities() -> None:
        for method in config.affinity.methods:
            assert method in ESTIMATORS
            estimator = estimator_of(method, config.affinity, source.index)(source)
            for number in range(estimator.n_units(source)):
                estimator.partial(number)

    return whole, epochs.sum() + (networks + timed(affinities)) / cpus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer nodes and parts")
    options = parser.parse_args()
    numbers, n_parts = ((1, 2), 200) if options.quick else ((1, 2, 4, 8), 1000)
    sizes = (15, 100, 500)
    added = {n_tasks: adding(n_tasks, 50) for n_tasks in sizes}
    with tempfile.TemporaryDirectory() as name:
        nodes = {n: per_part(Path(name) / str(n), n, n_parts) for n in numbers}
        whole, work = digits(Path(name) / "digits")
    b, a = np.polyfit(np.square(sizes), list(added.values()), 1)
    driver = max(own["driver"] for own in nodes.values())
    rows = [
        (f"{n} node{'s' * (n > 1)}: actors up; a part; of it the driver's own",
         f"{own['up']:.1f} s; {1e3 * own['part']:.1f} ms; {1e3 * own['driver']:.1f} ms", "")
        for n, own in nodes.items()
    ]  # fmt: skip
    rows += [(f"adding a part's sums, {n} tasks", f"{1e3 * own:.2f} ms", "") for n, own in added.items()]
    model = {}
    for seconds in PART_SECONDS:
        for n_tasks in (100, 1000):
            add = max(0.0, a + b * n_tasks**2)
            times = {workers: max(seconds / workers, driver) + add for workers in WORKERS}
            ends = seconds / driver
            model[f"{seconds:g} s, {n_tasks} tasks"] = {"ends": ends, "most": seconds / (driver + add), "part": times}
            shares = ", ".join(f"{workers}: {seconds / times[workers] / workers:.0%}" for workers in WORKERS)
            rows.append(
                (f"parts of {seconds:g} s, {n_tasks} tasks: workers' time that is used; where it ends",
                 f"{shares}; {ends:,.0f} workers", "")
            )  # fmt: skip
    rows.append(("digits, not spent in training or affinities", f"{whole - work:.0f} s of {whole:.0f} s",
                 f"at most {DIGITS_SECONDS:.0f} s"))  # fmt: skip
    result = {"nodes": nodes, "adding": added, "model": model, "digits": {"whole": whole, "work": work}}
    show("what a cluster costs", rows, result)


if __name__ == "__main__":
    main()
