"""The profile stage: one all-task training run, sharded by Ray Train."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal

from stg_ray.cluster import cluster_nodes, root_cause, wait_for
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, part_name, read_index
from stg_ray.data_map import snapshot_epochs
from stg_ray.errors import StgRayError
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir

PROGRESS_SECONDS = 1.0


def profile(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Train one network on all tasks and record the data maps.

    Writes profile/network.pt, profile/metrics.parquet and profile/data_map/epoch-*/. An interrupted run continues from
    its last epoch: Ray Train finds its checkpoints under .ray/profile.

    Raises:
        StgRayError: a loss became non-finite, or workers died more often than `profile.max_failures` allows.
    """
    import ray.train
    from ray.train.torch import TorchTrainer

    from stg_ray.profiling.worker import train_worker

    index = read_index(run.sub("parts"))
    if _is_whole(run, config, index):
        progress.summary = f"{config.profile.epochs} epochs, trained before"
        return
    _drop_broken_checkpoints(run)
    wanted = config.profile.workers
    most = wanted[1] if isinstance(wanted, tuple) else wanted
    workers, resources = placement(cluster_nodes(), most, index.n_parts())
    elastic = (min(wanted[0], workers), min(wanted[1], index.n_parts())) if isinstance(wanted, tuple) else None
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"run": run.uri, "config": config.model_dump(), "threads": int(resources["CPU"])},
        scaling_config=ray.train.ScalingConfig(
            num_workers=elastic or workers, use_gpu="GPU" in resources, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name="profile",
            storage_path=run.path(".ray"),
            storage_filesystem=None if run.is_local else run.fs,
            failure_config=ray.train.FailureConfig(max_failures=config.profile.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )

    looked = 0.0

    def poll() -> None:
        nonlocal looked
        if time.monotonic() - looked < PROGRESS_SECONDS:
            return
        looked = time.monotonic()
        with suppress(OSError):  # not there yet, or a storage that fails once: the next look may succeed
            state = run.read_json("profile/progress.json")
            progress.update(state["done"], state["total"], f"steps on {workers} workers")

    try:
        wait_for(trainer.fit, poll)
    except ray.train.TrainingFailedError as error:
        raise StgRayError(f"the profiling run failed: {root_cause(error)}") from error
    if run.exists("profile/failure.json"):
        failure = run.read_json("profile/failure.json")
        run.forget("profile")
        raise StgRayError(failure)
    fewer = f" ({most} were asked for)" if most not in ("auto", workers) and elastic is None else ""
    how = f"{config.profile.precision}, {config.profile.memory_format}"
    on = f"{elastic[0]} to {elastic[1]}" if elastic else str(workers)
    progress.summary = f"{config.profile.epochs} epochs of {index.n_samples():,} samples on {on} workers{fewer}, {how}"
    run.delete("profile/progress.json")


def placement(
    nodes: Sequence[Mapping[str, float]], workers: int | Literal["auto"], n_parts: int
) -> tuple[int, dict[str, float]]:
    """How many workers, and the resources of each: one per GPU, else per CPU, if auto; as many CPUs for each as fit.

    Never more workers than parts, nor than the nodes hold; a request that no node can meet would wait for ever.

    Args:
        nodes: resources of each node, as Ray names them.

    Raises:
        StgRayError: there is nothing to train on.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    usable = [node for node in nodes if not gpus or node.get("GPU", 0) >= 1]
    cpus = [int(node.get("CPU", 0)) for node in usable]
    if sum(cpus) == 0:
        raise StgRayError(
            "the cluster has no CPUs to train on (its nodes may still be starting): give the same command again when "
            "ray status shows some"
        )
    count = min(n_parts, sum(cpus), (gpus or sum(cpus)) if workers == "auto" else workers)
    share = math.ceil(count / gpus) if gpus else 0  # workers on one GPU

    def slots(cpus_of_one: int) -> int:
        most = (own // cpus_of_one for own in cpus)
        if not gpus:
            return sum(most)
        return sum(min(own, int(node["GPU"]) * share) for own, node in zip(most, usable, strict=True))

    fitting = [c for c in range(1, max(cpus) + 1) if slots(c) >= count]
    count = count if fitting else slots(1)
    resources: dict[str, float] = {"CPU": max(fitting, default=1)}
    if gpus:
        resources["GPU"] = 1 / share
    return count, resources


def _is_whole(run: RunDir, config: Config, index: PartIndex) -> bool:
    """Whether all that this stage writes is there: it was stopped between its end and its marker."""
    epochs = snapshot_epochs(config.profile.epochs, config.profile.snapshots)
    files = [f"{part_name('train', number)}.arrow" for number in range(index.n_parts())]
    return run.exists("profile/network.pt") and all(
        run.list(f"profile/data_map/epoch-{epoch:04d}") == files for epoch in epochs
    )


def _drop_broken_checkpoints(run: RunDir) -> None:
    """Start over if Ray Train was killed while it wrote the list of its checkpoints, or while they were removed: it
    refuses to start on such a folder for ever."""
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
