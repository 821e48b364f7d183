"""Networks as trials of one Ray Tune experiment."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import place_trials
from stg_ray.cluster.session import root_cause, wait_for
from stg_ray.cluster.telemetry import SampleCounter, set_gauge
from stg_ray.config import Config
from stg_ray.errors import StgRayError, one_line
from stg_ray.progress import StageProgress
from stg_ray.retraining.plans import NetworkSpec
from stg_ray.retraining.trial import is_finished, network_folder, train_network
from stg_ray.training.compute import training_process
from stg_ray.training.ranks import ALONE, Ranks


def run_trials(run: RunDir, config: Config, specs: list[NetworkSpec], progress: StageProgress) -> dict[str, str]:
    """Train the networks, each a trial; the reasons of those that failed, by their folders.

    A trial that ends badly is tried again from its last epoch, `retrain.max_failures` times, and takes no other down.
    """
    from ray import tune

    total = sum(spec.epochs for spec in specs)
    epochs_of_trial: dict[str, int] = {}
    failures: dict[str, str] = {}

    class Watch(tune.Callback):
        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            epochs_of_trial[trial.trial_id] = result.get("epoch", epochs_of_trial.get(trial.trial_id, 0))

        def on_step_end(self, iteration: int, trials: list, **info: Any) -> None:
            set_gauge(run, "retrain", "trials_running", sum(trial.status == "RUNNING" for trial in trials))

        def on_experiment_end(self, trials: list, **info: Any) -> None:
            for trial in trials:
                folder = network_folder(NetworkSpec.from_dict(trial.config["spec"]), config)
                if not is_finished(run, folder):
                    error = _error_of(trial)
                    reason = trial.last_result.get("failure") or (error and root_cause(error))
                    if reason:
                        failures[folder] = reason

    workers, placement = place_trials(cluster_nodes(), config.retrain.workers, config.retrain.gpus)
    if placement.instead:
        progress.note(placement.instead)

    def poll() -> None:
        if not epochs_of_trial:
            times = f"{workers} times " if workers > 1 else ""
            progress.waits_for(f"room for a network ({times}{placement.each})")
        progress.update(sum(epochs_of_trial.values()), total, f"epochs of {len(specs)} networks")

    tuner = tune.Tuner(
        # Workers of Ray Train have resources of their own: their trial only waits, but Tune wants it to have some.
        tune.with_resources(_trial, placement.resources if workers == 1 else {"memory": 1}),
        param_space={
            "run": run.uri,
            "config": config.model_dump(),
            "together": workers > 1,
            "spec": tune.grid_search([spec.to_dict() for spec in specs]),
        },
        tune_config=tune.TuneConfig(
            # A new process per trial would spend most of a small network's time importing torch.
            reuse_actors=True,
            max_concurrent_trials=None if workers == 1 else placement.at_once // workers,
            trial_name_creator=lambda trial: NetworkSpec.from_dict(trial.config["spec"]).title.replace(" ", "_"),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="retrain",
            storage_path=run.path(".ray"),
            storage_filesystem=None if run.is_local else run.fs,
            failure_config=tune.FailureConfig(max_failures=config.retrain.max_failures),
            callbacks=[Watch()],
            verbose=0,
        ),
    )
    run.delete(".ray/retrain")
    with suppress(EOFError, pickle.UnpicklingError):  # of Tune's own list of results, which is not used
        wait_for(tuner.fit, poll)
    for spec in specs:
        if not is_finished(run, folder := network_folder(spec, config)):
            failures.setdefault(folder, "its trial ended early")
    return failures


def _error_of(trial: Any) -> BaseException | None:
    """The last error of a trial; none where Tune's file of it is cut off, because the disk is full."""
    try:
        return trial.get_pickled_error()
    except (OSError, EOFError, pickle.UnpicklingError):
        return None


def device_here() -> str:
    import ray
    import torch

    # A node's GPUs may be seen by a trial that was given none.
    return "cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu"


def _trial(job: dict[str, Any]) -> None:
    """Tune's trainable, in a process of its own."""
    from ray import tune

    if job["together"]:
        _train_together(job)
    else:
        _train(job, tune.report, ALONE)


def _train_together(job: dict[str, Any]) -> None:
    """Train a network by several workers of Ray Train. What they tell goes to Tune, which also tries again."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    run, config = Storage(job["run"]), Config.model_validate(job["config"]).retrain
    # Nodes may have gone since the first try.
    workers, placement = place_trials(cluster_nodes(), config.workers, config.gpus)
    gpu = placement.resources.get("GPU")
    TorchTrainer(
        _worker,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=bool(gpu), resources_per_worker=placement.resources
        ),
        # nccl refuses two workers on one GPU; gloo does not.
        torch_config=TorchConfig(backend="gloo" if gpu and gpu < 1 else None),
        run_config=ray.train.RunConfig(
            name=f"retrain/workers-{uuid.uuid4().hex}",
            storage_path=run.path(".ray"),
            storage_filesystem=None if run.is_local else run.fs,
            # Of workers for which there is no room Ray Train would wait for ever.
            failure_config=ray.train.FailureConfig(controller_failure_limit=config.max_failures),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def _worker(job: dict[str, Any]) -> None:
    import ray.train

    _train(job, ray.train.report, Ranks.of_ray_train())


def _train(job: dict[str, Any], report: Callable[[dict[str, Any]], None], ranks: Ranks) -> None:
    run = Storage(job["run"])
    samples = SampleCounter(run, "retrain")
    try:
        with training_process(1):
            train_network(
                run,
                Config.model_validate(job["config"]),
                NetworkSpec.from_dict(job["spec"]),
                device=device_here(),
                report=lambda epoch: report({"epoch": epoch}),
                count=samples.add,
                ranks=ranks,
            )
        samples.flush()
    except StgRayError as error:
        # Such as a loss that became non-finite: it would again. To Tune it is no failure, so it is not tried again.
        report({"failure": str(error)})
    except OSError as error:
        # Said by itself: where the disk is full, Tune's own account of the error is cut off.
        if ranks.world == 1:
            report({"failure": one_line(error)})
        raise
