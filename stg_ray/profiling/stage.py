"""The profile stage: one all-task training run, sharded by Ray Train."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.calls import root_cause, wait_for
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import Placement, Resources, place_workers
from stg_ray.cluster.trainer import torch_trainer
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, part_name, read_index
from stg_ray.data_maps.state import snapshot_epochs
from stg_ray.errors import StgRayError
from stg_ray.models import build_network
from stg_ray.progress import StageProgress
from stg_ray.shown import counted, ranged
from stg_ray.training.auto import threads_that_pay, workers_pay
from stg_ray.training.length import LENGTH, WITHOUT_VALIDATION

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

MOST_BYTES_OF_ONE = 2**30
"""Inputs, labels and data maps that one worker takes by itself, at most, where there are other nodes."""

PROGRESS_SECONDS = 1.0
"""Between two looks at the workers' notes of their progress."""


def run(run_dir: RunDir, config: Config, progress: StageProgress) -> None:
    """Train one network on all tasks and record the data maps.

    Writes profile/network.pt, profile/metrics.parquet and profile/data_map/epoch-*/. An interrupted run goes on from
    its last epoch: Ray Train finds its checkpoints under .ray/profile.

    Raises:
        StgRayError: a loss became non-finite, or workers died more often than `profile.max_failures` allows.
    """
    import ray.train

    index = read_index(run_dir.sub("parts"))
    if _is_whole(run_dir, config, index):
        progress.summary = f"{_epochs_text(run_dir, config)}, trained before"
        return
    _drop_broken_checkpoints(run_dir)
    workers = _Workers.of(config, index)
    if workers.placement.instead and not workers.elastic:
        progress.note(workers.placement.instead)
    try:
        wait_for(_ray_trainer(run_dir, config, index, workers).fit, _poll(run_dir, config, workers, progress))
    except ray.train.TrainingFailedError as error:
        raise StgRayError(f"the profiling run failed: {root_cause(error)}") from error
    if run_dir.exists("profile/failure.json"):
        failure = run_dir.read_json("profile/failure.json")
        run_dir.forget("profile")
        raise StgRayError(failure)
    how = f"{config.profile.precision}, {config.profile.memory_format}"
    epochs = _epochs_text(run_dir, config)
    progress.summary = f"{epochs} of {index.n_samples():,} samples on {workers.text}, {how}"
    run_dir.delete("profile/progress.json")


@dataclass(frozen=True)
class _Workers:
    """The workers that the cluster has room for.

    Attributes:
        number: of workers.
        placement: the resources of each.
        elastic: fewest and most workers, where their number may change while they train.
    """

    number: int
    placement: Placement
    elastic: tuple[int, int] | None

    @classmethod
    def of(cls, config: Config, index: PartIndex) -> _Workers:
        wanted, n_parts = config.profile.workers, index.n_parts()
        nodes = cluster_nodes()
        number, placement = place_profile(config, index, nodes)
        elastic = (min(wanted[0], number), min(wanted[1], n_parts)) if isinstance(wanted, tuple) else None
        return cls(number, placement, elastic)

    @property
    def text(self) -> str:
        if self.elastic:
            return ranged(*self.elastic, "worker")
        return counted(self.number, "worker")


def place_profile(config: Config, index: PartIndex, nodes: Sequence[Resources]) -> tuple[int, Placement]:
    """Return how many workers the profile has on these nodes, and their placement."""
    most = most_workers(config, index, nodes)
    return place_workers(nodes, most, index.n_parts(), config.profile.gpu_share)


def most_workers(config: Config, index: PartIndex, nodes: Sequence[Resources]) -> int | Literal["auto"]:
    """Return the number of workers to look for room for, the most where they may change; auto: all that there is.

    `profile.workers: auto` is one worker where CPUs train and a step is too short to be shared (`workers_pay`), unless
    rows and their records are too many for one of several nodes.
    """
    wanted = config.profile.workers
    if wanted != "auto":
        return wanted[1] if isinstance(wanted, tuple) else wanted
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    bytes_of_a_row = 4 * math.prod(index.input_shape) + 9 * len(index.tasks)
    is_large = len(nodes) > 1 and index.n_samples() * bytes_of_a_row > MOST_BYTES_OF_ONE
    has_gpus = config.profile.gpu_share > 0 and any(node.get("GPU", 0) >= 1 for node in nodes)
    if has_gpus or is_large or not sum(cpus):
        return "auto"
    network = build_network(config.model, index, index.tasks, config.seed)
    return "auto" if workers_pay(network, index.input_shape, config.profile.batch_size, cpus) else 1


def threads_of_a_worker(config: Config, index: PartIndex, workers: int, placement: Placement) -> int:
    """Return the threads of each of so many workers: of its CPUs as many as its share of a step is long enough for.

    Beside a GPU, which computes the steps, all of them.
    """
    cpus = int(placement.resources["CPU"])
    if cpus == 1 or "GPU" in placement.resources:
        return cpus
    network = build_network(config.model, index, index.tasks, config.seed)
    return threads_that_pay(network, index.input_shape, math.ceil(config.profile.batch_size / workers), cpus)


def _ray_trainer(run_dir: RunDir, config: Config, index: PartIndex, workers: _Workers) -> TorchTrainer:
    """Ray Train's run of `train_worker` on every worker, which goes on from its checkpoints in the run directory."""
    import ray.train
    from ray.train.torch import TorchConfig

    from stg_ray.profiling.worker import train_worker

    resources = workers.placement.resources
    return torch_trainer(
        train_worker,
        train_loop_config={
            "run": run_dir.uri,
            "config": config.model_dump(),
            "threads": threads_of_a_worker(config, index, workers.number, workers.placement),
            "directory": os.getcwd(),
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.elastic or workers.number,
            use_gpu="GPU" in resources,
            resources_per_worker=resources,
        ),
        # nccl refuses two workers on one GPU; gloo does not.
        torch_config=TorchConfig(backend=None if resources.get("GPU", 0) >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name="profile",
            storage_path=run_dir.path(".ray"),
            storage_filesystem=None if run_dir.is_local else run_dir.fs,
            failure_config=ray.train.FailureConfig(max_failures=config.profile.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )


def _poll(run_dir: RunDir, config: Config, workers: _Workers, progress: StageProgress) -> Callable[[], None]:
    """A function that shows how far the first worker is, once a second at most."""
    looked = 0.0
    at_most = " at most" if config.profile.epochs == "auto" else ""

    def poll() -> None:
        nonlocal looked
        if time.monotonic() - looked < PROGRESS_SECONDS:
            return
        looked = time.monotonic()
        try:
            state = run_dir.read_json("profile/progress.json")
        except OSError:  # not there yet, or a storage that fails once: the next look may succeed
            progress.waits_for(workers.placement.times(workers.number))
        else:
            progress.update(state["done"], state["total"], f"steps{at_most} on {workers.text}")

    return poll


def _epochs_text(run: RunDir, config: Config) -> str:
    """The number of epochs that were trained, and why it was that many where it was not given."""
    if config.profile.epochs != "auto":
        return counted(config.profile.epochs, "epoch")
    length = run.read_json(LENGTH)
    reasons = {
        "plateau": f"the best is {length['best_epoch']}",
        "max_epochs": f"profile.max_epochs, the best is {length['best_epoch']}",
        "number": f"{WITHOUT_VALIDATION} times profile.min_steps: no task has a score on validation rows",
    }
    return f"{counted(length['epochs'], 'epoch')} ({reasons[length['ended']]})"


def _is_whole(run: RunDir, config: Config, index: PartIndex) -> bool:
    """Whether all files of this stage are written: it was stopped between its end and its marker."""
    if config.profile.epochs != "auto":
        epochs = snapshot_epochs(config.profile.epochs, config.profile.snapshots)
    elif run.exists(LENGTH):
        epochs = [run.read_json(LENGTH)["epochs"]]
    else:
        return False
    files = [f"{part_name('train', number)}.arrow" for number in range(index.n_parts())]
    return run.exists("profile/network.pt") and all(
        run.list(f"profile/data_map/epoch-{epoch:04d}") == files for epoch in epochs
    )


def _drop_broken_checkpoints(run: RunDir) -> None:
    """Start over if Ray Train was killed while it wrote the list of its checkpoints, or while they were removed.

    It would refuse to start on the folder for ever.
    """
    folder = ".ray/profile"
    name = f"{folder}/checkpoint_manager_snapshot.json"
    if not run.exists(name):
        return
    try:
        saved = run.read_json(name)
        results = [*saved["checkpoint_results"], *saved["pending_training_results"]]
        whole = all(run.exists(f"{folder}/{result['checkpoint_dir_name']}") for result in results)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        run.delete(folder)
