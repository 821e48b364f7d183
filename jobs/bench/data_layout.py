"""Laying task sets out as parts: seconds and memory; and how fast the parts feed a training loop.

    python -m jobs.bench.data_layout [--quick]

CIFAR-100 is read from $STG_RAY_DATA, and left out where it is not there. The large set is made for this: N = 1,000,000
samples of 64 features with 1,000 binary tasks, in one Parquet file of some 0.4 GB in the temporary folder.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.bench.measure import alternate, run_measured, show
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config
from stg_ray.data.parts import read_index, read_split, write_parts
from stg_ray.data.sources import load_task_set

LARGE = "large.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument(
        "--lay-out", nargs="+", metavar="ARG", help=argparse.SUPPRESS
    )  # in the process that is measured
    arguments = parser.parse_args()
    if arguments.lay_out:
        lay_out(*arguments.lay_out)
        return
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "data_layout", "quick": arguments.quick, "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
        limit = 5_000 if arguments.quick else 50_000
        if (Path(os.environ.get("STG_RAY_DATA", "nowhere")) / "cifar100").is_dir():
            overrides = [f"data.limit={limit}"]
            seconds, peak = run_measured(
                ["-m", "jobs.bench.data_layout", "--lay-out", f"{folder}/cifar100", "cifar100", *overrides]
            )
            rows.append((f"CIFAR-100, {limit:,} images laid out", f"{seconds:.1f} s, {peak:.0f} MiB", "60 s, 1024 MiB"))
            feed = feeding(Storage(f"{folder}/cifar100"), rounds=3 if arguments.quick else 5)
            rows.append(
                (
                    f"its batches, against training the small CNN on {feed['threads']} threads",
                    f"{feed['batches']:,.0f} and {feed['training']:,.0f} images/s: {feed['ratio']:.0f} times",
                    "20 times",
                )
            )
            result["cifar100"] = {"images": limit, "seconds": seconds, "rss_anon_mib": peak, "feed": feed}
        else:
            rows.append(("CIFAR-100", "no cifar100/ in $STG_RAY_DATA", ""))
        n_rows, n_tasks = (20_000, 200) if arguments.quick else (1_000_000, 1_000)
        make_large(Path(folder) / LARGE, n_rows, n_tasks)
        overrides = [f"data.root={folder}"]
        seconds, peak = run_measured(
            ["-m", "jobs.bench.data_layout", "--lay-out", f"{folder}/large", "large", *overrides]
        )
        what = f"{n_rows:,} rows of 64 features, {n_tasks:,} tasks, laid out"
        rows.append((what, f"{seconds:.1f} s, {peak:.0f} MiB", "2048 MiB"))
        result["large"] = {"rows": n_rows, "tasks": n_tasks, "seconds": seconds, "rss_anon_mib": peak}
    show("Layout of task sets (memory: peak RssAnon)", rows, result)


def lay_out(out: str, source: str, *overrides: str) -> None:
    large = {"data": {"parquet": {"files": LARGE, "features": ["x_*"], "labels": ["y_*"]}}}
    config = load_config(large if source == "large" else source, overrides)
    write_parts(load_task_set(config.data, config.seed), Storage(out), seed=config.seed)


def make_large(path: Path, n_rows: int, n_tasks: int, block: int = 20_000) -> None:
    """Features that are noise, labels with 1 to 50 % of positives: only sizes matter here."""
    rng = np.random.default_rng(0)
    shares = np.linspace(0.01, 0.5, n_tasks)
    features, tasks = [f"x_{f}" for f in range(64)], [f"y_{t}" for t in range(n_tasks)]
    schema = pa.schema([(name, pa.float32()) for name in features] + [(name, pa.int8()) for name in tasks])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n_rows, block):
            n = min(block, n_rows - start)
            inputs = rng.standard_normal((64, n), dtype=np.float32)
            labels = (rng.random((n_tasks, n), dtype=np.float32) < shares[:, None]).astype(np.int8)
            writer.write_batch(pa.record_batch([pa.array(c) for c in (*inputs, *labels)], schema=schema))


def feeding(parts: Storage, rounds: int) -> dict[str, float]:
    """Images per second of the batches alone, and of training on them, in turn."""
    # The process whose layout is measured does not load what trains.
    import torch

    from stg_ray.models import build_network
    from stg_ray.models.outputs import as_labels
    from stg_ray.seeds import Stream
    from stg_ray.training.auto import resolve_recipe
    from stg_ray.training.batches import CommonBatches, Draws, epoch_batches
    from stg_ray.training.trainer import Rows, Trainer

    threads = os.cpu_count() or 1
    torch.set_num_threads(threads)
    index = read_index(parts)
    data = read_split(parts, index, "train")
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
    config = resolve_recipe(load_config("cifar100"), index.input_shape)
    network = build_network(config.model, index, index.tasks, 0)
    batches = epoch_batches(len(inputs), len(inputs) // config.profile.batch_size, np.random.default_rng(0))
    few = min(20 * config.profile.batch_size, len(inputs))
    trainer = Trainer(
        network,
        Rows(inputs[:few], labels[:few], data.samples[:few]),
        CommonBatches(few, config.profile.batch_size, index.labels_per_sample, Draws(0, Stream.PROFILE_BATCHES)),
        config.profile,
    )

    def feed() -> float:
        began = time.perf_counter()
        for rows in batches:
            numbers = torch.from_numpy(rows)
            _ = inputs[numbers], as_labels(labels[numbers])
        return len(inputs) / (time.perf_counter() - began)

    def train() -> float:
        began = time.perf_counter()
        trainer.epoch(1)
        return few / (time.perf_counter() - began)

    train()
    speed = alternate({"batches": feed, "training": train}, rounds)
    return {**speed, "ratio": speed["batches"] / speed["training"], "threads": threads}


if __name__ == "__main__":
    main()
