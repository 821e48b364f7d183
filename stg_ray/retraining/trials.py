"""Networks as trials of one Ray Tune experiment."""

from __future__ import annotations

import os
import pickle
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import wait_for
from stg_ray.cluster.nodes import cluster_nodes
from stg_ray.cluster.placement import Placement, place, place_trials
from stg_ray.cluster.telemetry import SampleCounter
from stg_ray.cluster.trainer import torch_trainer
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import StgRayError, one_line
from stg_ray.imports import work_in
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import is_trained, network_folder
from stg_ray.retraining.specs import NetworkSpec, specs_of
from stg_ray.retraining.stacks import in_trials
from stg_ray.retraining.trial import train_networks
from stg_ray.shown import counted
from stg_ray.training.compute import training_process
from stg_ray.training.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from ray.tune import Tuner


def run_trials(
    run: RunDir, config: Config, specs: list[NetworkSpec], progress: StageProgress, what: str = ""
) -> dict[str, str]:
    """Train networks as trials, as far as their specs say; return why those that failed did, by their folders.

    Small networks that start alike share one (see `stacks.in_trials`), each other has its own. A trial that ends badly
    is tried again from its last epoch, `retrain.max_failures` times, and takes no other down.

    Args:
        what: they are, for the progress, such as `of the search`.
    """
    from stg_ray.retraining.loggers import loggers_of
    from stg_ray.retraining.watch import Watch

    workers, placement = place_trials(cluster_nodes(), config.retrain.workers, config.retrain.gpu_share)
    if placement.instead:
        progress.note(placement.instead)
    watch = Watch(run, config, progress.name)
    loggers = loggers_of(run, config.retrain.loggers, progress.name)
    trials = [[spec] for spec in specs]
    if workers == 1:
        trials = in_trials(config, read_index(run.sub("parts")), specs, placement.at_once)
    known = [length for spec in specs if (length := _known_length(spec)) is not None]
    networks = f"{counted(len(specs), 'network')} {what}".strip()
    progress.begins_to_wait()

    def poll() -> None:
        for logger in loggers:
            logger.tell(progress.note)
        if not watch.epochs_of_trial:
            progress.waits_for(f"room for a network ({placement.times(workers)})")
        done = sum(watch.epochs_of_trial.values())
        if len(known) == len(specs):
            progress.update(done, sum(known), f"epochs of {networks}", sum(watch.before.values()))
        else:
            which = f"networks {what}".strip()
            progress.update(sum(watch.ended.values()), len(specs), f"{which} after {counted(done, 'epoch')}")

    tuner = _tuner(run, config, trials, workers, placement, [watch, *loggers])
    run.delete(f".ray/{watch.stage}")
    with suppress(EOFError, pickle.UnpicklingError):  # of Tune's own list of results, which is not used
        wait_for(tuner.fit, poll)
    for logger in loggers:
        logger.tell(progress.note)
    for spec in specs:
        if not is_trained(run, config, spec):
            watch.failures.setdefault(network_folder(spec, config), "its trial ended early")
    return watch.failures


def _known_length(spec: NetworkSpec) -> int | None:
    """The number of epochs of a training, as far as it is known."""
    lengths = [length for length in (spec.epochs, spec.pause) if isinstance(length, int)]
    return min(lengths, default=None)


def _tuner(
    run: RunDir,
    config: Config,
    trials: list[list[NetworkSpec]],
    workers: int,
    placement: Placement,
    callbacks: Sequence[Any],
) -> Tuner:
    """Tune's experiment: a trial for each list of networks, as many at a time as there is room for.

    `Watch` is called first of the callbacks.
    """
    from ray import tune

    stage = callbacks[0].stage

    return tune.Tuner(
        # Workers of Ray Train have resources of their own: their trial only waits, but Tune wants it to have some.
        tune.with_resources(_trial, placement.resources if workers == 1 else {"memory": 1}),
        param_space={
            "run": run.uri,
            "config": config.model_dump(),
            "directory": os.getcwd(),
            "stage": stage,
            "together": workers > 1,
            "specs": tune.grid_search([[spec.to_dict() for spec in specs] for specs in trials]),
        },
        tune_config=tune.TuneConfig(
            # A new process per trial would spend most of a small network's time importing torch.
            reuse_actors=True,
            max_concurrent_trials=None if workers == 1 else placement.at_once // workers,
            trial_name_creator=lambda trial: specs_of(trial.config)[0].title.replace(" ", "_"),
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=stage,
            storage_path=run.path(".ray"),
            storage_filesystem=None if run.is_local else run.fs,
            failure_config=tune.FailureConfig(max_failures=config.retrain.max_failures),
            callbacks=list(callbacks),
            verbose=0,
        ),
    )


def as_ray_task(function: Callable[..., Any], config: Config) -> Any:
    """Return a function as a Ray task with the CPU, the share of a GPU and the retries of a trial of one worker."""
    import ray

    needs, retries = place(cluster_nodes(), config.retrain.gpu_share).resources, config.retrain.max_failures
    return ray.remote(num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), max_retries=retries)(function)


def device_here() -> str:
    """Return the device of this Ray worker: the GPU that it was given, else the CPU."""
    import ray
    import torch

    # A node's GPUs may be seen by a trial that was given none.
    return "cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu"


def _trial(job: dict[str, Any]) -> None:
    """Train the network of a trial, as Tune's trainable in a worker process."""
    from ray import tune

    if job["together"]:
        _train_together(job)
    else:
        _train(job, tune.report, ALONE)


def _train_together(job: dict[str, Any]) -> None:
    """Train a network by several workers of Ray Train. Their reports go to Tune, which also tries again."""
    import ray.train
    from ray.train.torch import TorchConfig
    from ray.util.queue import Queue

    from stg_ray.retraining.forwarding import Forward, forward

    run, config = Storage(job["run"]), Config.model_validate(job["config"]).retrain
    # Nodes may have gone since the first try.
    workers, placement = place_trials(cluster_nodes(), config.workers, config.gpu_share)
    gpu = placement.resources.get("GPU")
    reports = Queue(actor_options={"num_cpus": 0})
    trainer = torch_trainer(
        _worker,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=bool(gpu), resources_per_worker=placement.resources
        ),
        # nccl refuses two workers on one GPU; gloo does not.
        torch_config=TorchConfig(backend=None if gpu and gpu >= 1 else "gloo"),
        run_config=ray.train.RunConfig(
            name=f"{job['stage']}/workers-{uuid.uuid4().hex}",
            storage_path=run.path(".ray"),
            storage_filesystem=None if run.is_local else run.fs,
            # Ray Train would wait for ever for workers that there is no room for.
            failure_config=ray.train.FailureConfig(controller_failure_limit=config.max_failures),
            callbacks=[Forward(reports)],
        ),
    )
    try:
        wait_for(trainer.fit, lambda: forward(reports))
    finally:
        forward(reports)
        reports.shutdown()


def _worker(job: dict[str, Any]) -> None:
    """Train a network as one of its Ray Train workers."""
    import ray.train

    _train(job, ray.train.report, Ranks.of_ray_train())


def _train(job: dict[str, Any], report: Callable[[dict[str, Any]], None], ranks: Ranks) -> None:
    """Train a network as one of its ranks.

    Args:
        job: run (URI), config and spec (mappings), stage (its name).
        report: Tune's or Ray Train's.
    """
    work_in(job["directory"])
    run = Storage(job["run"])
    samples = SampleCounter(run, job["stage"])
    try:
        with training_process(1):
            failures = train_networks(
                run,
                Config.model_validate(job["config"]),
                specs_of(job),
                device=device_here(),
                report=lambda epoch, scores: report({"epoch": epoch, "scores": list(scores)}),
                goes_on=lambda epochs: report({"epoch": epochs, "before": epochs}),
                count=samples.add,
                ranks=ranks,
            )
        samples.flush()
        lasting = {spec.title: str(error) for spec, error in failures.items() if isinstance(error, StgRayError)}
        if lasting:
            # A loss that became non-finite would do so again: it is reported, so that Tune does not try again.
            report({"failures": lasting})
        for error in failures.values():
            if not isinstance(error, StgRayError):
                raise error
    except OSError as error:
        # Reported by itself: where the disk is full, Tune's file of the error is cut off.
        if ranks.world == 1:
            report({"failures": {spec.title: one_line(error) for spec in specs_of(job)}})
        raise
