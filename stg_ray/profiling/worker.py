"""What each Ray Train worker does: train on its own parts, record its samples' confidences, save every epoch.

Every rank takes the same number of steps; a rank's rows of an epoch are cut into equal batches, so no row is repeated
or dropped, and each local loss is scaled so that the average over ranks is the loss of the whole batch.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.telemetry import SampleCounter
from stg_ray.config import Config
from stg_ray.data.parts import Part, PartIndex, part_name, read_index, read_split
from stg_ray.data_maps.findings import region_sums, regions_table, suspects, suspects_table
from stg_ray.data_maps.histogram import point_counts
from stg_ray.data_maps.state import DataMapState, snapshot_epochs
from stg_ray.models import TaskNetwork, build_network, save_network
from stg_ray.profiling.events import write_events
from stg_ray.seeds import Stream, generator, torch_seed
from stg_ray.tasks import observed
from stg_ray.training.augmentation import Augmentation
from stg_ray.training.compute import Compute, training_process
from stg_ray.training.epoch import Optimization, epoch_batches, non_finite, train_epoch
from stg_ray.training.ranks import Ranks

PROGRESS_SECONDS = 1.0


@dataclass(frozen=True)
class Shard:
    """The parts of one worker, and the rows of all workers, from which every rank derives the same steps."""

    rank: int
    numbers: list[int]
    rows_by_rank: list[int]

    @classmethod
    def of(cls, index: PartIndex, rank: int, world: int) -> Shard:
        rows = index.rows["train"]
        return cls(rank, list(range(rank, len(rows), world)), [sum(rows[r::world]) for r in range(world)])

    def steps(self, batch_size: int) -> int:
        return min(math.ceil(sum(self.rows_by_rank) / batch_size), min(self.rows_by_rank))

    def batch_rows(self, n_steps: int) -> np.ndarray:
        """(steps,) rows of each step over all ranks; `array_split` makes the first batches one row longer."""
        rows = np.array(self.rows_by_rank)[:, None]
        return (rows // n_steps + (np.arange(n_steps) < rows % n_steps)).sum(axis=0)


class Recorder:
    """Data-map states of a worker's rows: the merged past, and the confidences of the epoch in flight."""

    def __init__(self, index: PartIndex, shard: Shard, data: Part) -> None:
        self.numbers = shard.numbers
        self.samples = data.samples
        bounds = np.cumsum([0] + [index.rows["train"][number] for number in shard.numbers])
        self.rows = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        self.state = DataMapState.empty(len(data), len(index.tasks))
        self.current = np.full((len(data), len(index.tasks)), np.nan, dtype=np.float32)
        self.visits = np.zeros(len(data), np.int32)

    def record(self, rows: np.ndarray, confidences: torch.Tensor) -> None:
        """Take the confidences (b, K) of a batch; a sample's visits are counted, not assumed."""
        self.current[rows] = confidences.cpu().numpy()
        self.visits[rows] += 1

    def finish_epoch(self) -> None:
        for rows in self.rows:  # a part at a time: the merge works in float64
            merged = self.state[rows].merge(DataMapState.of_visit(self.current[rows], self.visits[rows]))
            self.state.count[rows], self.state.mean[rows], self.state.m2[rows] = merged.count, merged.mean, merged.m2
        self.visits[:] = 0

    def save(self, storage: Storage, folder: str = "") -> None:
        for number, rows in zip(self.numbers, self.rows, strict=True):
            batch = self.state[rows].to_batch(self.samples[rows])
            storage.write_arrow(f"{folder}{part_name('train', number)}.arrow", batch)

    def load(self, storage: Storage) -> None:
        states = [
            DataMapState.from_batch(storage.read_arrow(f"{part_name('train', number)}.arrow"))
            for number in self.numbers
        ]
        self.state = DataMapState(
            *(np.concatenate([getattr(s, key) for s in states]) for key in ("count", "mean", "m2"))
        )


def train_worker(job: dict[str, Any]) -> None:
    """Entry point on each worker. `job`: run (URI), config (mapping), threads."""
    with training_process(job["threads"]):
        _train(job)


def _train(job: dict[str, Any]) -> None:
    config = Config.model_validate(job["config"])
    run = Storage(job["run"])
    ranks = Ranks.of_ray_train()
    rank, world = ranks.rank, ranks.world
    device = ray.train.torch.get_device()
    index = read_index(run.sub("parts"))
    shard = Shard.of(index, rank, world)
    data = read_split(run.sub("parts"), index, "train", shard.numbers)
    inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)

    compute = Compute.of(config.profile, device)
    network = build_network(config.model, index, index.tasks, config.seed)
    compute.place(network)
    n_steps = shard.steps(config.profile.batch_size)
    optimization = Optimization(network, config.profile, config.profile.epochs * n_steps)
    recorder = Recorder(index, shard, data)
    augment = Augmentation.of(config.profile, index.input_shape, data.samples)
    label_counts = ranks.sum(torch.from_numpy(observed(data.labels).sum(axis=0)), device)
    history = _restore(network, optimization, recorder)
    model = compute.compiled(ranks.wrap(network))

    divisors = (shard.batch_rows(n_steps) * index.labels_per_sample / world).tolist()
    snapshots = snapshot_epochs(config.profile.epochs, config.profile.snapshots)
    progress = _Progress(run, config.profile.epochs, n_steps) if ranks.is_first else None
    samples = SampleCounter(run, "profile")

    for epoch in range(len(history) + 1, config.profile.epochs + 1):
        began = time.monotonic()
        torch.manual_seed(torch_seed(config.seed, epoch, rank))

        def record(rows: np.ndarray, outputs: torch.Tensor, target: torch.Tensor, epoch: int = epoch) -> None:
            recorder.record(rows, network.layout.confidences(outputs, target))
            samples.add(len(rows))
            if progress is not None:
                progress.step(epoch)

        if augment is not None:
            augment.draw(Stream.PROFILE_AUGMENTATION, config.seed, epoch)
        batches = epoch_batches(len(data), n_steps, generator(Stream.PROFILE_BATCHES, config.seed, epoch, rank))
        totals = train_epoch(
            model,
            network.layout,
            optimization,
            inputs,
            labels,
            batches,
            divisors=divisors,
            compute=compute,
            augment=augment,
            record=record,
        )
        confidences = torch.from_numpy(np.nan_to_num(recorder.current).sum(axis=0, dtype=np.float64))
        sums = ranks.sum(torch.stack([totals.cpu(), confidences]), device)
        loss, confidence = sums / label_counts
        confidence[network.layout.regression.cpu()] = torch.nan
        failure = non_finite(loss, index.names, epoch)
        if failure:
            # Every rank sees the same sums and leaves here: no restart can mend it, so it is no failure of Ray's.
            if ranks.is_first:
                run.write_json("profile/failure.json", failure)
            return
        recorder.finish_epoch()
        samples.flush()
        if epoch in snapshots:
            recorder.save(run, f"profile/data_map/epoch-{epoch:04d}/")
        seconds = time.monotonic() - began
        history.append({"epoch": epoch, "seconds": seconds, "loss": loss.tolist(), "confidence": confidence.tolist()})
        if epoch == config.profile.epochs:
            _write_findings(run, index, recorder, data, device, ranks)
        if ranks.is_first:
            run.write_parquet("profile/metrics.parquet", _metrics_table(index, history))
            write_events(run, index.names, history)
            if epoch == config.profile.epochs:
                save_network(run, "profile/network.pt", network)
        _report(network, optimization, recorder, history, rank)


def _write_findings(
    run: Storage, index: PartIndex, recorder: Recorder, data: Part, device: torch.device, ranks: Ranks
) -> None:
    """Tables of the regions and of the labels to look at, and the points' histograms, from every worker's samples."""
    sums = ranks.sum(torch.from_numpy(region_sums(recorder.state)), device)
    counts = ranks.sum(torch.from_numpy(point_counts(recorder.state)), device)
    shards: list[Any] = [suspects(recorder.state, data.samples, data.labels)]
    if ranks.world > 1:
        everyone: list[Any] = [None] * ranks.world
        dist.all_gather_object(everyone, shards[0])
        shards = everyone
    if ranks.is_first and len(index.tasks) > len([task for task in index.tasks if task.kind == "regression"]):
        run.write_parquet("profile/regions.parquet", regions_table(index.names, sums.numpy()))
        run.write_parquet("profile/suspects.parquet", suspects_table(index.names, shards))
        run.write_arrays("profile/points.arrow", {"counts": counts.numpy()})


def _report(
    network: TaskNetwork, optimization: Optimization, recorder: Recorder, history: list[dict], rank: int
) -> None:
    """One checkpoint per epoch; the folders of all ranks merge, so each rank brings its own parts' states."""
    with tempfile.TemporaryDirectory(prefix="stg_ray-") as folder:
        recorder.save(Storage(folder))
        if rank == 0:
            state = {"network": network.state_dict(), "optimization": optimization.state_dict(), "history": history}
            torch.save(state, Path(folder) / "state.pt")
        loss = float(np.nansum(history[-1]["loss"]))
        ray.train.report({"epoch": len(history), "loss": loss}, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _restore(network: TaskNetwork, optimization: Optimization, recorder: Recorder) -> list[dict]:
    """Continue from the last epoch's checkpoint, if there is one; the history tells how many epochs are done."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        state = torch.load(Path(folder) / "state.pt", weights_only=True, map_location="cpu")
        network.load_state_dict(state["network"])
        optimization.load_state_dict(state["optimization"])
        recorder.load(Storage(folder))
    return state["history"]


def _metrics_table(index: PartIndex, history: list[dict]) -> pa.Table:
    return pa.table(
        {
            "epoch": [past["epoch"] for past in history for _ in index.tasks],
            "task": [name for _ in history for name in index.names],
            "loss": [value for past in history for value in past["loss"]],
            "confidence": [value for past in history for value in past["confidence"]],
            "seconds": [past["seconds"] for past in history for _ in index.tasks],
        }
    )


class _Progress:
    """Tells the driver, through the run directory, how far rank 0 is."""

    def __init__(self, run: Storage, epochs: int, n_steps: int) -> None:
        self.run, self.epochs, self.n_steps = run, epochs, n_steps
        self.step_of_epoch = 0
        self.epoch = 0
        self.last = 0.0

    def step(self, epoch: int) -> None:
        self.step_of_epoch = self.step_of_epoch + 1 if epoch == self.epoch else 1
        self.epoch = epoch
        if time.monotonic() - self.last >= PROGRESS_SECONDS:
            done = (epoch - 1) * self.n_steps + self.step_of_epoch
            self.run.write_json("profile/progress.json", {"done": done, "total": self.epochs * self.n_steps})
            self.last = time.monotonic()
