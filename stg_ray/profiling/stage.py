"""The profile stage: one all-task training run, sharded by Ray Train."""

from __future__ import annotations

from stg_ray.cluster import cluster_cpus, cluster_gpus, root_cause, wait_for
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import StgRayError
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir


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
    workers, resources = _placement(config, index.n_parts())
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"run": run.uri, "config": config.model_dump(), "threads": int(resources["CPU"])},
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu="GPU" in resources, resources_per_worker=resources
        ),
        run_config=ray.train.RunConfig(
            name="profile",
            storage_path=run.sub_uri(".ray"),
            failure_config=ray.train.FailureConfig(max_failures=config.profile.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
        ),
    )

    def poll() -> None:
        if run.exists("profile/progress.json"):
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
    progress.summary = f"{config.profile.epochs} epochs of {index.n_samples():,} samples on {workers} workers"
    run.delete("profile/progress.json")
    run.delete(".ray/profile")


def _placement(config: Config, n_parts: int) -> tuple[int, dict[str, float]]:
    """Number of workers, each with at least one part, and what each of them gets; never more than there is."""
    cpus, gpus = cluster_cpus(), cluster_gpus()
    most = min(n_parts, gpus or cpus)
    wanted = config.profile.workers
    workers = most if wanted == "auto" else min(wanted, n_parts, cpus)
    resources: dict[str, float] = {"CPU": max(1, cpus // workers)}
    if gpus:
        resources["GPU"] = 1 if workers <= gpus else gpus / workers
    return workers, resources
