"""The work of each Ray Train worker: train on its parts, record its samples' confidences, save every epoch.

Every rank takes the same number of steps; a rank's rows of an epoch are cut into equal batches, so no row is repeated
or dropped, and each local loss is scaled so that the average over ranks is the loss of the whole batch.
"""

from __future__ import annotations

import math
import tempfile
import time
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
from stg_ray.config import Config, TrainingConfig
from stg_ray.data.parts import PartIndex, read_index, read_split
from stg_ray.data.rows import TaskRows, as_inputs
from stg_ray.data_maps.findings import Suspects, region_sums, regions_table, suspects, suspects_table
from stg_ray.data_maps.histogram import point_counts
from stg_ray.data_maps.state import snapshot_epochs
from stg_ray.imports import work_in
from stg_ray.models import build_network, save_network
from stg_ray.profiling.events import write_events
from stg_ray.profiling.recorder import Recorder, Shard
from stg_ray.seeds import Stream
from stg_ray.tasks import observed
from stg_ray.training.batches import Draws, ShardBatches
from stg_ray.training.compute import training_process
from stg_ray.training.length import LENGTH, Course, Length, without_validation
from stg_ray.training.looks import ProfileLooks, looks_file
from stg_ray.training.ranks import Ranks
from stg_ray.training.trainer import Rows, Trainer, non_finite
from stg_ray.training.validation import Validation

PROGRESS_SECONDS = 1.0
"""Between two notes of the progress, for the driver."""

EpochRecord = dict[str, Any]
"""epoch, seconds, cpu_seconds of this process, by task loss and confidence (lists of K), and the score on
validation rows if it decides."""


def train_worker(job: dict[str, Any]) -> None:
    """Train as one of the workers: Ray Train's entry point.

    Args:
        job: run (URI), config (mapping), threads.
    """
    work_in(job["directory"])
    with training_process(job["threads"]):
        _Worker(Storage(job["run"]), Config.model_validate(job["config"])).run_epochs()


class _Worker:
    """One rank of the profile: the training of its rows, and the records of them."""

    def __init__(self, run: Storage, config: Config) -> None:
        """Read the shard, build the network, and go on from the last epoch's checkpoint, if there is one."""
        self.run, self.config = run, config
        self.ranks = Ranks.of_ray_train()
        self.device = ray.train.torch.get_device()
        self.index = read_index(run.sub("parts"))
        shard = Shard.of(self.index, self.ranks.rank, self.ranks.world)
        self.data = read_split(run.sub("parts"), self.index, "train", shard.numbers)
        batches = ShardBatches(
            shard.rows_by_rank,
            config.profile.batch_size,
            self.index.labels_per_sample,
            Draws(config.seed, Stream.PROFILE_BATCHES, Stream.PROFILE_AUGMENTATION),
            self.ranks,
        )
        settings: TrainingConfig = config.profile
        self.validation = _validation(run, config, self.index) if settings.epochs == "auto" else None
        if self.validation is None:
            settings = without_validation(settings, batches.n_steps)
        self.length = Length.of(settings, batches.n_steps)
        self.trainer = Trainer(
            build_network(config.model, self.index, self.index.tasks, config.seed),
            Rows(as_inputs(self.data.inputs), torch.from_numpy(self.data.labels), self.data.samples),
            batches,
            settings,
            device=self.device,
        )
        self.recorder = Recorder(self.index, shard, self.data)
        self.looks = {
            method: ProfileLooks(self.trainer, every, method) for method, every in config.profile.looks.items()
        }
        labels = torch.from_numpy(observed(self.data.labels).sum(axis=0))
        self.label_counts = self.ranks.sum(labels, self.device)
        self.history: list[EpochRecord] = []
        self.course = Course()
        self._restore()
        self.progress = _Progress(run, self.length.most, batches.n_steps) if self.ranks.is_first else None
        self.counter = SampleCounter(run, "profile")

    def run_epochs(self) -> None:
        """Train, record and write the epochs that are left; end early where a loss is not finite."""
        while not self.course.ended and len(self.history) < self.length.most:
            epoch, began, cpu_began = len(self.history) + 1, time.monotonic(), time.process_time()
            loss, confidence = self._train(epoch)
            failure = non_finite(loss, self.index.names, epoch)
            if failure:
                # Every rank sees the same sums and leaves here: no restart can mend it, so it is no failure of Ray's.
                if self.ranks.is_first:
                    self.run.write_json("profile/failure.json", failure)
                return
            means = {"loss": loss.tolist(), "confidence": confidence.tolist(), **self._judge(epoch)}
            self._record(epoch)
            times = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu_began}
            self.history.append({"epoch": epoch, **times, **means})
            self._write()
            self._report()

    def _train(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Train for an epoch; mean loss and confidence (K,) of each task over the labels of all ranks."""
        layout = self.trainer.network.layout

        def record(rows: np.ndarray, outputs: torch.Tensor, labels: torch.Tensor) -> None:
            self.recorder.record(rows, layout.confidences(outputs, labels))
            for looks in self.looks.values():
                looks.record(rows, outputs, labels)
            self.counter.add(len(rows))
            if self.progress is not None:
                self.progress.step(epoch)

        totals = self.trainer.epoch(epoch, record)
        sums = self.ranks.sum(torch.stack([totals.cpu(), self.recorder.confidence_sums()]), self.device)
        loss, confidence = sums / self.label_counts
        confidence[layout.regression.cpu()] = torch.nan
        return loss, confidence

    def _judge(self, epoch: int) -> dict[str, float]:
        """Decide whether the training goes on, by its score on the validation rows where its length is left to that.

        The score is taken by rank 0 for all ranks, so that they decide alike.
        """
        self.course.epoch, score = epoch, {}
        if (validation := self.validation) is not None:
            score["validation"] = self.ranks.from_first(lambda: validation.score(self.trainer), self.device)
            self.course.keep_if_best(self.trainer.network, score["validation"])
        self.length.after_epoch(self.course, self.trainer)
        if self.course.ended and self.course.best_weights is not None:
            self.trainer.network.load_state_dict(self.course.best_weights)
        return score

    def _record(self, epoch: int) -> None:
        """Add the epoch to the data maps, which are written where the epoch has a snapshot."""
        self.recorder.finish_epoch()
        for looks in self.looks.values():
            looks.finish_epoch()
        self.counter.flush()
        if self.course.ended or epoch in snapshot_epochs(self.length.most, self.config.profile.snapshots):
            self.recorder.save(self.run, f"profile/data_map/epoch-{epoch:04d}/")

    def _write(self) -> None:
        """Write the history of the epochs; after the last epoch also the findings and the network."""
        is_last = bool(self.course.ended)
        if is_last:
            self._write_findings()
        if self.ranks.is_first:
            self.run.write_parquet("profile/metrics.parquet", _history_table(self.index, self.history))
            write_events(self.run, self.index.names, self.history)
            if is_last:
                for method, looks in self.looks.items():
                    self.run.write_arrays(looks_file(method), looks.arrays(self.index.n_samples()))
                if self.config.profile.epochs == "auto":
                    self.run.write_json(LENGTH, self.course.summary())
                save_network(self.run, "profile/network.pt", self.trainer.network)

    def _write_findings(self) -> None:
        """Write the tables of regions and suspects, and the points' histograms, from the samples of all ranks."""
        state, names = self.recorder.state, self.index.names
        sums = self.ranks.sum(torch.from_numpy(region_sums(state)), self.device)
        counts = self.ranks.sum(torch.from_numpy(point_counts(state)), self.device)
        shards = _of_all_ranks(suspects(state, self.data.samples, self.data.labels), self.ranks)
        if self.ranks.is_first and any(task.kind != "regression" for task in self.index.tasks):
            self.run.write_parquet("profile/regions.parquet", regions_table(names, sums.numpy()))
            self.run.write_parquet("profile/suspects.parquet", suspects_table(names, shards))
            self.run.write_arrays("profile/points.arrow", {"counts": counts.numpy()})

    def _report(self) -> None:
        """Give Ray Train a checkpoint; the folders of all ranks merge, so each rank brings the states of its parts."""
        with tempfile.TemporaryDirectory(prefix="stg_ray-") as folder:
            self.recorder.save(Storage(folder))
            if self.ranks.is_first:
                own: dict[str, Any] = {"looks": {method: looks.state_dict() for method, looks in self.looks.items()}}
                own |= {"history": self.history, "course": vars(self.course)}
                torch.save({**self.trainer.state_dict(), **own}, Path(folder) / "state.pt")
            loss = float(np.nansum(self.history[-1]["loss"]))
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"epoch": len(self.history), "loss": loss}, checkpoint=checkpoint)

    def _restore(self) -> None:
        """Go on from the last epoch's checkpoint, if there is one; the history tells how many epochs are done."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / "state.pt", weights_only=True, map_location="cpu")
            self.trainer.load_state_dict(state)
            self.recorder.load(Storage(folder))
            for method, looks in self.looks.items():
                looks.load_state_dict(state["looks"][method])
        self.history, self.course = state["history"], Course(**state.get("course", {}))


def _validation(run: Storage, config: Config, index: PartIndex) -> Validation | None:
    """The validation rows; None if no task has a score on them."""
    rows = TaskRows(run.sub("parts"), index, "val", range(len(index.tasks)))
    validation = Validation(rows.inputs, rows.labels, np.ones(len(index.tasks)), config.metric)
    return validation if validation.has_score(index.tasks) else None


def _of_all_ranks(of_this_rank: Suspects, ranks: Ranks) -> list[Suspects]:
    """The suspects of every rank's samples, on every rank."""
    if ranks.world == 1:
        return [of_this_rank]
    gathered: list[Any] = [None] * ranks.world
    dist.all_gather_object(gathered, of_this_rank)
    return gathered


def _history_table(index: PartIndex, history: list[EpochRecord]) -> pa.Table:
    """A row for each epoch and task; with the epoch's score on the validation rows where that decided the length."""
    scored = "validation" in history[0]
    return pa.table(
        {
            "epoch": [past["epoch"] for past in history for _ in index.tasks],
            "task": [name for _ in history for name in index.names],
            "loss": [value for past in history for value in past["loss"]],
            "confidence": [value for past in history for value in past["confidence"]],
            "seconds": [past["seconds"] for past in history for _ in index.tasks],
            "cpu_seconds": [past.get("cpu_seconds", math.nan) for past in history for _ in index.tasks],
            **({"validation": [past["validation"] for past in history for _ in index.tasks]} if scored else {}),
        }
    )


class _Progress:
    """Notes of how far rank 0 is, which the driver reads in the run directory."""

    def __init__(self, run: Storage, epochs: int, n_steps: int) -> None:
        self.run, self.epochs, self.n_steps = run, epochs, n_steps
        self.step_of_epoch = 0
        self.epoch = 0
        self.noted = 0.0

    def step(self, epoch: int) -> None:
        self.step_of_epoch = self.step_of_epoch + 1 if epoch == self.epoch else 1
        self.epoch = epoch
        if time.monotonic() - self.noted >= PROGRESS_SECONDS:
            done = (epoch - 1) * self.n_steps + self.step_of_epoch
            self.run.write_json("profile/progress.json", {"done": done, "total": self.epochs * self.n_steps})
            self.noted = time.monotonic()
