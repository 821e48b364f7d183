"""What each stage costs a cluster, and how long it takes on 1 to 4,096 workers: costs, measured, and a model.

    python -m jobs.bench.scaling [--quick]

Measured on simulated nodes (Ray nodes of this machine, a CPU in name each): the driver's own time for each part of the
affinities, which is serial whatever the number of workers, and the time until all nodes' actors are up. Measured on
this machine: the driver's own time for each network that Ray Tune trains, for adding a part's K x K sums, for groups,
and for what a search proposes; a row's share of a training step and a part's affinities on one core, of two jobs. The
model is in `jobs.bench.scaling_model`, with its assumptions.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import stg_ray as sr
from jobs.bench.measure import show, timed, worked
from jobs.bench.scaling_model import Costs, Job, fastest_epoch, stages
from stg_ray.affinities.actor import partial_name
from stg_ray.affinities.base import ratio_of_sums
from stg_ray.affinities.estimators import estimator_of
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.samples import parts_looked_at, rows_per_part
from stg_ray.affinities.pool import ActorPool
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.placement import place
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.data.parts import index_of, part_sizes, read_index, write_parts
from stg_ray.models import build_network, load_weights
from stg_ray.planning.timing import NEXT_SECONDS, measure_pace
from stg_ray.progress import Reporter, StageProgress
from stg_ray.retraining.search.search import GroupSearch
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trials import run_trials
from stg_ray.settling import settle

METHOD = "label_correlation"
WORKERS = (1, 8, 64, 512, 4096)
PART_ROWS = (512, 1024, 2048, 8192)
JOBS = {
    "131,072 images of 3 x 32 x 32, 100 tasks, cnn": (131_072, 100, (3, 32, 32), "cnn"),
    "1,048,576 rows of 64 features, 1,000 tasks, mlp": (1_048_576, 1_000, (64,), "mlp"),
}


class Quiet(StageProgress):
    def __init__(self) -> None:
        super().__init__(Console(quiet=True), "affinity")

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer nodes, parts, tasks and networks")
    quick = parser.parse_args().quick
    os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as name:
        folder = Path(name)
        nodes = {n: per_part(folder / str(n), n, 200 if quick else 1000) for n in ((1, 2) if quick else (1, 2, 4, 8))}
        costs = Costs(
            start=NEXT_SECONDS,
            part=max(of["driver"] for of in nodes.values()),
            adding=adding((15, 100) if quick else (15, 100, 500)),
            trial=per_network(folder / "networks", 10 if quick else 60),
            grouping=law(grouping_seconds, (50, 100) if quick else (100, 300, 1000)),
            proposals=law(search_seconds, (15, 30) if quick else (30, 100, 300)),
        )
        jobs = {}
        for title in list(JOBS)[:1] if quick else JOBS:
            jobs[title] = job_of(title, folder / "job", PART_ROWS[:2] if quick else PART_ROWS)
    rows = [
        (f"{n} node{'s' * (n > 1)}: actors up; a part; of it the driver's own",
         f"{of['up']:.1f} s; {1e3 * of['part']:.1f} ms; {1e3 * of['driver']:.1f} ms", "")
        for n, of in nodes.items()
    ]  # fmt: skip
    rows += [
        ("the driver's own, of a network", f"{1e3 * costs.trial:.0f} ms", ""),
        *((f"a part in all, {k:,} tasks", f"{1e3 * costs.of_part(k):.1f} ms", "") for k in (15, 100, 1000)),
    ]
    model: dict[str, Any] = {}
    for title, of_sizes in jobs.items():
        job = of_sizes[min(of_sizes, key=lambda size: abs(size - rows_by_default(title)))]
        rows.append((title, f"{1e6 * job.row:.0f} us of a row's step, {job.part:.2f} s of a part", ""))
        model[title] = {w: {name: asdict(each) for name, each in stages(job, costs, w).items()} for w in WORKERS}
        for name in stages(job, costs, 1):
            each = {w: stages(job, costs, w)[name] for w in WORKERS}
            text = ", ".join(f"{w:,}: {clock(of.seconds)}" for w, of in each.items())
            rows.append((f"  {name}", text, f"ends at {each[WORKERS[-1]].limit}"))
        rows.append(("  workers that the profile uses of 4,096", f"{fastest_epoch(job, 4096)[1]:,}", ""))
        for size, other in of_sizes.items():
            affinity = {w: stages(other, costs, w)["affinity"].seconds for w in WORKERS}
            text = ", ".join(f"{w:,}: {clock(of)}" for w, of in affinity.items())
            rows.append((f"  affinity, parts of {size:,} rows ({other.parts:,})", text, ""))
    show("what a cluster costs", rows, {"nodes": nodes, "costs": asdict(costs), "model": model})


def clock(seconds: float) -> str:
    """Seconds, minutes or hours, in two or three digits."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def per_part(folder: Path, n_nodes: int, n_parts: int) -> dict[str, float]:
    """Seconds on a cluster of so many nodes: until its actors are up, per part, and of those the driver's own."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(n_nodes - 1):
        cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, (8 * n_parts, 15))
        run, config = RunDir(folder), sr.load_config({"data": {"npz": "none"}, "affinity": {"methods": [METHOD]}})
        task_set = sr.TaskSet.from_arrays(rng.normal(size=(len(labels), 4)), labels)
        assert write_parts(task_set, run.sub("parts"), part_rows=5).n_parts() >= n_parts
        assert place([node["Resources"] for node in ray.nodes()], config.affinity.gpus).at_once == n_nodes
        with ActorPool(run, config, None, Quiet()) as pool:
            up = timed(lambda: pool.compute([(METHOD, number) for number in range(n_nodes)], 0, n_parts))
        with ActorPool(run, config, None, Quiet()) as pool:
            pool.compute([(METHOD, number) for number in range(n_nodes)], 0, n_parts)
            began, own = time.monotonic(), time.process_time()
            pool.compute([(METHOD, number) for number in range(n_nodes, n_parts)], 0, n_parts)
            n = n_parts - n_nodes
            return {"up": up, "part": (time.monotonic() - began) / n, "driver": (time.process_time() - own) / n}
    finally:
        ray.shutdown()
        cluster.shutdown()


def adding(sizes: tuple[int, ...], n_parts: int = 50) -> tuple[float, float]:
    """The seconds a + b K^2 in which the sums of a part are read and added."""
    rng, seconds = np.random.default_rng(0), []
    for n_tasks in sizes:
        one = {"total": rng.random((n_tasks, n_tasks)), "count": np.ones((n_tasks, n_tasks)), "samples": np.array(1)}
        with tempfile.TemporaryDirectory() as folder:
            run = RunDir(folder)
            for number in range(n_parts):
                run.write_arrays(partial_name("data_map", number), one)
            read = (run.read_arrays(partial_name("data_map", number)) for number in range(n_parts))
            seconds.append(timed(lambda read=read: ratio_of_sums(read, "total", "count")) / n_parts)
    b, a = np.polyfit(np.square(sizes), seconds, 1)
    return float(a), float(b)


def per_network(folder: Path, n_networks: int) -> float:
    """The driver's own seconds of a network of Ray Tune, beyond those of its experiment."""
    import ray

    rng = np.random.default_rng(0)
    names = [f"task {number}" for number in range(4)]
    task_set = sr.TaskSet.from_arrays(rng.normal(size=(400, 4)), rng.integers(0, 2, (400, 4)), names=names)
    run = RunDir(folder)
    given = {"data": {"npz": "none"}, "model": {"width": 4}, "retrain": {"epochs": 1, "stacked": "never"}}
    config = settle(sr.load_config(given), write_parts(task_set, run.sub("parts")))
    run.write_config(config)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:

        def train(number: int, seed: int) -> float:
            specs = [
                NetworkSpec("search", n, (names[n % 4],), seed + n, seed + n, 1, probe=True) for n in range(number)
            ]
            return worked(lambda: assert_none(run_trials(run, config, specs, Quiet())))

        train(2, 0)  # imports
        many, few = train(2 + n_networks, 1000), train(2, 500)
        return (many - few) / n_networks
    finally:
        ray.shutdown()


def assert_none(failures: dict[str, str]) -> None:
    assert not failures, failures


def grouping_seconds(n_tasks: int) -> float:
    """Seconds of grouping so many tasks, the number of groups and their certainty included."""
    points = np.random.default_rng(0).normal(size=(n_tasks, 8)) + 3 * np.eye(8)[np.arange(n_tasks) % 8]
    affinity = np.corrcoef(points)
    return timed(lambda: sr.group(affinity))


def search_seconds(n_tasks: int) -> float:
    """Seconds that a search computes between its five rounds: 60 networks of planted groups are measured."""
    rng = np.random.default_rng(0)
    of_task = rng.integers(0, 4, n_tasks)
    search = GroupSearch(n_tasks, 4, 60)
    spent = 0.0
    while True:
        began = time.perf_counter()
        groups = search.ask(at_least=12)
        spent += time.perf_counter() - began
        if not groups:
            return spent
        for group in groups:
            together = (of_task[:, None] == of_task)[:, group].mean(axis=1) + 0.1 * rng.normal(size=n_tasks)
            search.tell(group, np.where(group, together, np.nan))


def law(seconds_of: Any, sizes: tuple[int, ...]) -> tuple[float, float]:
    """The law c K^p that is nearest to the seconds of some numbers of tasks."""
    seconds_of(sizes[0])  # imports
    p, log_c = np.polyfit(np.log(sizes), np.log([seconds_of(size) for size in sizes]), 1)
    return float(np.exp(log_c)), float(p)


def job_of(title: str, folder: Path, part_rows: tuple[int, ...]) -> dict[int, Job]:
    """A job by the rows of its parts, with what is measured of it on one core."""
    n_rows, n_tasks, shape, trunk = JOBS[title]
    rng = np.random.default_rng(0)
    largest = max(part_rows)
    inputs = rng.normal(size=(3 * largest, *shape)).astype(np.float32)
    first = inputs.reshape(len(inputs), -1)[:, :20]
    labels = first @ rng.normal(size=(20, n_tasks)) + rng.normal(size=(len(inputs), n_tasks)) > 1
    split = np.repeat(["train", "val", "test"], largest)
    task_set = sr.TaskSet.from_arrays(inputs, labels.astype(int), split=split)
    given = {"model": {"trunk": trunk}, "profile": {"epochs": 1, "workers": 1}}
    config = settle(sr.load_config(given | {"data": {"npz": "none"}}), index := index_of(task_set))
    row = measure_pace(config, config.profile, task_set, index).step[1]
    parameters = build_network(config.model, index, index.tasks, 0).n_parameters
    job = Job(n_tasks, n_rows, n_rows // largest, parameters, row, 0.0)
    jobs = {}
    for size in part_rows:
        settings = given | {"data": {"part_rows": size}}
        run = sr.run(task_set, f"{folder}-{n_tasks}-{size}", settings=settings, until="profile", reporter=_silent())
        jobs[size] = replace(job, parts=n_rows // size, part=seconds_of_part(run.run_dir, n_rows // size))
    return jobs


def _silent() -> Reporter:
    return Reporter(Console(quiet=True))


def seconds_of_part(run: RunDir, n_parts: int) -> float:
    """Mean seconds of the affinities of a part on one core, in a job of so many; gradients are of some parts only."""
    config, index = run.read_config(), read_index(run.sub("parts"))
    of_job = replace(index, rows={"train": index.rows["train"][:1] * n_parts})
    looked_at, rows = parts_looked_at(config.affinity, of_job), rows_per_part(config.affinity, of_job)
    affinity = config.affinity.model_copy(update={"samples": rows * index.n_parts()})
    source = RunSource(run, config.model_copy(update={"affinity": affinity}), load_weights(run, "profile/network.pt"))
    seconds = 0.0
    for method in affinity.methods:
        estimator = estimator_of(method, affinity, source.index)(source)
        estimator.partial(0)
        share = looked_at / n_parts if isinstance(estimator, GradientEstimator) else 1.0
        seconds += share * timed(lambda estimator=estimator: estimator.partial(0))
    return seconds


def rows_by_default(title: str) -> int:
    """The rows of a part of a job as it is laid out by default."""
    n_rows, n_tasks, *_ = JOBS[title]
    return part_sizes(n_rows, n_tasks)[0]


if __name__ == "__main__":
    main()
