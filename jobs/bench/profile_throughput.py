"""Throughput of the profiling run, with recording, against bare loops and a plain per-sample, per-task loop.

    python -m jobs.bench.profile_throughput [--quick]

The small CNN on random 32x32 images with K = 15 and K = 100 binary tasks, one thread per process:

    bare        forward, loss, backward and step over the same batches, with the same network and precision
    no record   our training loop without the recorder
    loop        our training loop with the recorder
    worker      the profile stage on Ray Train with one worker: its own seconds per epoch
    published   PIL images, labels built per sample, a head and a loss call per task, a recorder per batch; as it is,
                and in channels_last, which such code does not have but could have by a line: ours is compared to the
                faster of the two
    two ...     two bare loops at the same moment: as they are, with memory that is kept as workers keep theirs
                (training.compute.training_process), and with that and gradients that torch averages between them; two
                workers of one Ray Train run, in a Ray as runs start it, each with the batch of one

Sides take turns; what is printed are medians.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn

from jobs.bench.measure import alternate, show
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.data.parts import PartIndex, read_index, read_split, write_parts
from stg_ray.models import build_network
from stg_ray.progress import Reporter
from stg_ray.seeds import Stream
from stg_ray.tasks import TaskSet
from stg_ray.training.auto import DeviceFacts, resolve_auto, resolve_recipe
from stg_ray.training.batches import CommonBatches, Draws, epoch_batches
from stg_ray.training.compute import Compute, training_process
from stg_ray.training.trainer import Rows, Trainer

BATCH = 128
TASK_COUNTS = (15, 100)
EXPECTED_RECORDING = {15: 0.03, 100: 0.05}
EXPECTED_PUBLISHED = {15: 2.1, 100: 2.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--bare", metavar="RUN", help=argparse.SUPPRESS)  # a process of two that run at the same moment
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)  # its memory, as a worker does
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)  # averages gradients with the other process
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.bare:
        if arguments.rank is not None:
            dist.init_process_group("gloo", f"file://{arguments.bare}/meeting", rank=arguments.rank, world_size=2)
        with training_process(1) if arguments.keep else nullcontext():
            print(Sides(arguments.bare).bare(epochs=4))
    else:
        compare(arguments.quick)


def compare(quick: bool) -> None:
    n_images, rounds = (1024, 2) if quick else (4096, 5)
    rows: list[tuple[str, str, str]] = []
    result: dict[str, Any] = {"benchmark": "profile_throughput", "quick": quick, "cpus": os.cpu_count()}
    with tempfile.TemporaryDirectory(prefix="stg_ray-bench-") as folder:
        for n_tasks in TASK_COUNTS:
            run = f"{folder}/{n_tasks}"
            lay_out(run, n_images, n_tasks)
            sides = Sides(run)
            speed = alternate(
                {
                    "bare": sides.bare,
                    "bare bf16": lambda sides=sides: sides.bare(bf16=True),
                    "no record": sides.unrecorded,
                    "loop": sides.recorded,
                    "published": sides.published,
                    "published, channels_last": lambda sides=sides: sides.published(channels_last=True),
                },
                rounds,
            )
            workers = alternate(
                {
                    "bare, before": lambda sides=sides: sides.bare(epochs=4),
                    "worker": lambda run=run: profiled(run, 1),
                    "two bare": lambda run=run: two_bare(run),
                    "two bare that keep memory": lambda run=run: two_bare(run, "--keep"),
                    "two bare, averaged": lambda run=run: two_bare(run, "--keep", averaged=True),
                    "two workers": lambda run=run: profiled(run, 2),
                },
                1 if quick else 3,
            )
            recording = 1 - speed["loop"] / speed["no record"]
            published = max(speed["published"], speed["published, channels_last"])
            ratios = {
                "recording": recording,
                "loop_to_bare": speed["loop"] / speed["bare"],
                "worker_to_bare": workers["worker"] / workers["bare, before"],
                "two_workers_to_two_that_keep": workers["two workers"] / workers["two bare that keep memory"],
                "two_workers_to_two_averaged": workers["two workers"] / workers["two bare, averaged"],
                "published_to_bare_bf16": published / speed["bare bf16"],
                "loop_to_published": speed["loop"] / published,
            }
            speeds = speed | workers
            rows += [(f"K = {n_tasks}: {name}", f"{value:,.0f} images/s", "") for name, value in speeds.items()]
            rows.append((f"K = {n_tasks}: cost of recording", f"{recording:.1%}", f"{EXPECTED_RECORDING[n_tasks]:.0%}"))
            for name, key, expected in (
                ("one worker / bare", "worker_to_bare", "0.93"),
                ("two workers / two that keep", "two_workers_to_two_that_keep", "0.90"),
                ("two workers / two, averaged", "two_workers_to_two_averaged", ""),
                ("published / bare in bf16", "published_to_bare_bf16", "0.38 or more"),
                ("loop / published", "loop_to_published", f"{EXPECTED_PUBLISHED[n_tasks]}"),
            ):
                rows.append((f"K = {n_tasks}: {name}", f"{ratios[key]:.2f}", expected))
            result[f"K={n_tasks}"] = {"images_per_second": speeds, **ratios}
    show(f"Throughput of profiling, batches of {BATCH}, {sides.compute}", rows, result)


def bench_config(index: PartIndex, trunk: str = "cnn", **profile: Any) -> Config:
    model = {"trunk": trunk, "width": 128, "dropout": 0.0}  # as version 0.1, with whose figures these are compared
    given = {"data": {"npz": "none"}, "model": model, "profile": {"batch_size": BATCH, "epochs": 9} | profile}
    config = resolve_recipe(load_config(given), index.input_shape)
    network = build_network(config.model, index, index.tasks, 0)
    profile_section = resolve_auto(config.profile, DeviceFacts.here(), network, index.input_shape)
    return config.model_copy(update={"profile": profile_section})


def lay_out(run: str, n_images: int, n_tasks: int) -> None:
    rng = np.random.default_rng(0)
    n = int(n_images / 0.7) + 1
    images = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    labels = (rng.random((n, n_tasks)) < 0.1).astype(np.int8)
    split = np.where(np.arange(n) < n_images, "train", np.where(np.arange(n) % 2, "val", "test"))
    write_parts(TaskSet.from_arrays(images, labels, split=split), Storage(run).sub("parts"))


def two_bare(run: str, *arguments: str, averaged: bool = False) -> float:
    """Images per second of two bare loops at the same moment, which train one network if they are averaged."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    Path(run, "meeting").unlink(missing_ok=True)
    command = [sys.executable, "-m", "jobs.bench.profile_throughput", "--bare", run, *arguments]
    ranks = [["--rank", str(rank)] if averaged else [] for rank in range(2)]
    loops = [subprocess.Popen([*command, *own], stdout=subprocess.PIPE, text=True, env=environment) for own in ranks]
    return sum(float(loop.communicate()[0]) for loop in loops)


def profiled(run: str, workers: int, trunk: str = "cnn") -> float:
    """Images per second of the profile stage, by the seconds that its workers measured of all epochs but the first."""
    from stg_ray.artifacts.run_dir import RunDir
    from stg_ray.cluster.session import session
    from stg_ray.profiling.stage import run as profile

    directory = RunDir(run)
    for name in ("profile", ".ray/profile"):
        directory.delete(name)
    index = read_index(directory.sub("parts"))
    os.environ["OMP_THREAD_LIMIT"] = "1"  # a single worker has all CPUs
    with session("local"), _quiet().stage("profile") as progress:
        profile(directory, bench_config(index, trunk, workers=workers, batch_size=BATCH * workers), progress)
    metrics = directory.read_parquet("profile/metrics.parquet").to_pandas()
    seconds = metrics.groupby("epoch")["seconds"].first()
    return index.n_samples() / float(seconds[seconds.index > 1].median())


def _quiet() -> Reporter:
    from rich.console import Console

    return Reporter(Console(quiet=True))


class Sides:
    """The loops of one process."""

    def __init__(self, run: str, device: str = "cpu", trunk: str = "cnn") -> None:
        storage = Storage(run).sub("parts")
        self.index: PartIndex = read_index(storage)
        self.data = read_split(storage, self.index, "train")
        self.inputs, self.labels = torch.from_numpy(self.data.inputs), torch.from_numpy(self.data.labels)
        self.config = bench_config(self.index, trunk)
        self.compute = Compute.of(self.config.profile, device)
        n_steps = len(self.inputs) // BATCH
        self.batches = epoch_batches(len(self.inputs), n_steps, np.random.default_rng(0))

    def _timed(self, epoch: Callable[[], None], epochs: int = 1) -> float:
        began = time.perf_counter()
        for _ in range(epochs):
            epoch()
        if self.compute.device.type == "cuda":
            torch.cuda.synchronize()
        return epochs * len(self.inputs) / (time.perf_counter() - began)

    def bare(self, epochs: int = 1, *, bf16: bool = False) -> float:
        compute = Compute(bf16=True, channels_last=True) if bf16 else self.compute
        network = build_network(self.config.model, self.index, self.index.tasks, 0)
        compute.place(network)
        model: nn.Module = network
        if dist.is_initialized():
            model = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
        labels = self.labels.float()

        def epoch() -> None:
            for rows in self.batches:
                index = torch.from_numpy(rows)
                outputs = compute.forward(model, compute.batch(self.inputs[index]))
                target = compute.batch(labels[index])
                loss = nn.functional.binary_cross_entropy_with_logits(outputs, target)
                optimizer.zero_grad(set_to_none=model is network)
                loss.backward()
                optimizer.step()

        return self._timed(epoch, epochs)

    def unrecorded(self) -> float:
        return self._train(record=False)

    def recorded(self) -> float:
        return self._train(record=True)

    def _train(self, *, record: bool) -> float:
        from stg_ray.profiling.recorder import Recorder, Shard

        network = build_network(self.config.model, self.index, self.index.tasks, 0)
        batches = CommonBatches(len(self.inputs), BATCH, self.index.labels_per_sample, Draws(0, Stream.PROFILE_BATCHES))
        rows = Rows(self.inputs, self.labels, self.data.samples)
        trainer = Trainer(network, rows, batches, self.config.profile, device=self.compute.device)
        recorder = Recorder(self.index, Shard.of(self.index, 0, 1), self.data)

        def keep(rows: np.ndarray, outputs: torch.Tensor, target: torch.Tensor) -> None:
            recorder.record(rows, network.layout.confidences(outputs, target))

        def epoch() -> None:
            trainer.epoch(1, record=keep if record else None)
            if record:
                recorder.finish_epoch()

        return self._timed(epoch)

    def published(self, *, channels_last: bool = False) -> float:
        """In the manner of published research code: nothing is slow on purpose, and nothing is thought about."""
        from stg_ray.imports import torchvision

        transforms = torchvision().transforms
        mean, std = (torch.tensor(values) / 255 for values in (self.index.input_mean, self.index.input_std))
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
        images = [Image.fromarray(image.transpose(1, 2, 0)) for image in self.data.inputs[:]]
        classes = self.data.labels
        n_tasks = len(self.index.tasks)

        class PublishedSet(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(images)

            def __getitem__(self, i: int) -> tuple[Any, ...]:
                return transform(images[i]), {t: float(classes[i, t]) for t in range(n_tasks)}, i

        network = build_network(self.config.model, self.index, self.index.tasks, 0)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        trunk = network.trunk.to(memory_format=memory_format)  # type: ignore[call-overload]
        heads = nn.ModuleList(nn.Linear(128, 1) for _ in range(n_tasks))
        optimizer = torch.optim.AdamW([*trunk.parameters(), *heads.parameters()], lr=1e-3)
        loss_of = nn.BCEWithLogitsLoss()
        loader = torch.utils.data.DataLoader(PublishedSet(), batch_size=BATCH, shuffle=True)
        recorded = torch.zeros(len(images), n_tasks)

        def epoch() -> None:
            for batch, labels, numbers in loader:
                features = trunk(batch.contiguous(memory_format=memory_format))
                total = torch.zeros(())
                confidences = []
                for t in range(n_tasks):
                    logit = heads[t](features)[:, 0]
                    target = labels[t].float()
                    total = total + loss_of(logit, target)
                    confidences.append(1 - (target - torch.sigmoid(logit.detach())).abs())
                optimizer.zero_grad()
                total.backward()
                optimizer.step()
                recorded[numbers] = torch.stack(confidences, dim=1)

        return self._timed(epoch)


if __name__ == "__main__":
    main()
