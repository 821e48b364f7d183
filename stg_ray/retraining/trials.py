"""Networks as trials of one Ray Tune experiment."""

from __future__ import annotations

from typing import Any

from stg_ray.cluster import cluster_total, root_cause, wait_for
from stg_ray.config import Config
from stg_ray.errors import StgRayError
from stg_ray.progress import StageProgress
from stg_ray.retraining.plans import NetworkSpec
from stg_ray.retraining.trial import is_finished, network_folder, train_network
from stg_ray.run_dir import RunDir
from stg_ray.storage import Storage


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
            epochs_of_trial[trial.trial_id] = result.get("epoch", 0)

        def on_experiment_end(self, trials: list, **info: Any) -> None:
            for trial in trials:
                folder = network_folder(NetworkSpec.from_dict(trial.config["spec"]), config)
                if not is_finished(run, folder):
                    error = trial.get_pickled_error()
                    reason = trial.last_result.get("failure") or (error and root_cause(error))
                    failures[folder] = reason or "its trial ended early"

    tuner = tune.Tuner(
        tune.with_resources(_trial, resources_of_trial(config)),
        param_space={
            "run": run.uri,
            "config": config.model_dump(),
            "spec": tune.grid_search([spec.to_dict() for spec in specs]),
        },
        tune_config=tune.TuneConfig(
            # A new process per trial would spend most of a small network's time importing torch.
            reuse_actors=True,
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
    wait_for(
        tuner.fit, lambda: progress.update(sum(epochs_of_trial.values()), total, f"epochs of {len(specs)} networks")
    )
    return failures


def resources_of_trial(config: Config) -> dict[str, float]:
    """Of one trial, as Tune names them."""
    return {"CPU": 1, "GPU": config.retrain.gpus} if cluster_total("GPU") else {"CPU": 1}


def device_here() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _trial(job: dict[str, Any]) -> None:
    """Tune's trainable, in a worker process."""
    import torch
    from ray import tune

    torch.set_num_threads(1)
    try:
        train_network(
            Storage(job["run"]),
            Config.model_validate(job["config"]),
            NetworkSpec.from_dict(job["spec"]),
            device=device_here(),
            report=lambda epoch: tune.report({"epoch": epoch}),
        )
    except StgRayError as error:
        # Such as a loss that became non-finite: it would again. To Tune it is no failure, so it is not tried again.
        tune.report({"failure": str(error)})
