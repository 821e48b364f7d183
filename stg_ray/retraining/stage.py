"""The retrain stage: every network of every plan is a trial of one Ray Tune experiment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stg_ray.cluster import cluster_total, root_cause, wait_for
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import StgRayError
from stg_ray.groups import Groups, Serving
from stg_ray.progress import StageProgress
from stg_ray.retraining.plans import NetworkSpec, Plan, make_plans, network_specs
from stg_ray.retraining.scoring import Scores, ensemble_scores
from stg_ray.retraining.trial import is_finished, network_folder, train_network
from stg_ray.run_dir import RunDir
from stg_ray.storage import Storage


def retrain(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Train the networks of all plans and write plans/, models/, results.parquet and costs.parquet.

    Networks that are finished for this configuration are kept; what is missing is submitted.

    Raises:
        StgRayError: trials failed; all others are finished and kept, and the message names the failed ones.
    """
    ours = Groups.from_dict(run.read_json("groups.json"))
    plans = make_plans(ours, read_index(run.sub("parts")).tasks, config)
    for name, plan in plans.items():
        run.write_json(f"plans/{name}.json", plan.groups.to_dict())
    profiled = hashlib.sha256(run.read_bytes("profile/network.pt")).hexdigest()[:16]
    specs = list(network_specs(plans, config, profiled))
    unique = {network_folder(spec, config): spec for spec in reversed(specs)}
    missing = [spec for folder, spec in reversed(unique.items()) if not is_finished(run, folder)]
    if missing:
        failures = _run_trials(run, config, missing, progress)
        if failures:
            named = "; ".join(f"{title}: {reason}" for title, reason in list(failures.items())[:5])
            raise StgRayError(
                f"{len(failures)} of {len(unique)} networks could not be trained ({named}); the others are kept"
            )
    networks = _publish(run, config, specs)
    scores = _argmax_scores(networks, plans) + _ensemble_scores(run, config, plans)
    run.write_parquet("results.parquet", _results(scores))
    run.write_parquet("costs.parquet", _costs(networks))
    kept = f", {len(unique) - len(missing)} of them from before" if len(missing) < len(unique) else ""
    progress.summary = f"{len(unique)} networks of {len(plans)} plans{kept}"


def _publish(run: RunDir, config: Config, specs: list[NetworkSpec]) -> list[dict[str, Any]]:
    """Make models/ hold the networks of these plans and no others; what is known of each network, by plan and group."""
    run.delete("models")
    networks = []
    for spec in specs:
        folder = network_folder(spec, config)
        run.copy(f"{folder}/network.pt", f"{spec.folder}/network.pt")
        networks.append({**run.read_json(f"{folder}/network.json"), **spec.to_dict()})
        run.write_json(f"{spec.folder}/network.json", networks[-1])
    return networks


def _run_trials(run: RunDir, config: Config, specs: list[NetworkSpec], progress: StageProgress) -> dict[str, str]:
    """Train the networks; the reasons of those that failed, by title."""
    from ray import tune

    total = sum(spec.epochs for spec in specs)
    epochs_of_trial: dict[str, int] = {}

    class Watch(tune.Callback):
        def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
            epochs_of_trial[trial.trial_id] = result.get("epoch", 0)

    tuner = tune.Tuner(
        tune.with_resources(_trial, _resources(config)),
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
    results = wait_for(
        tuner.fit, lambda: progress.update(sum(epochs_of_trial.values()), total, f"epochs of {len(specs)} networks")
    )
    failures = {}
    for spec, result in zip(specs, results, strict=True):
        if not is_finished(run, network_folder(spec, config)):
            failures[spec.title] = root_cause(result.error) if result.error else "its trial ended early"
    return failures


def _resources(config: Config) -> dict[str, float]:
    """Of one trial, as Tune names them."""
    return {"CPU": 1, "GPU": config.retrain.gpus} if cluster_total("GPU") else {"CPU": 1}


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _trial(job: dict[str, Any]) -> None:
    """Tune's trainable, in a worker process."""
    import torch
    from ray import tune

    torch.set_num_threads(1)
    train_network(
        Storage(job["run"]),
        Config.model_validate(job["config"]),
        NetworkSpec.from_dict(job["spec"]),
        device=_device(),
        report=lambda epoch: tune.report({"epoch": epoch}),
    )


def _argmax_scores(networks: list[dict[str, Any]], plans: dict[str, Plan]) -> list[_Scored]:
    """What each network scored on the tasks that it serves."""
    found = []
    for network in networks:
        serving = plans[network["plan"]].groups.serving
        for split, scores in network["scores"].items():
            own = {task: metrics for task, metrics in scores.items() if serving[task] == network["group"]}
            found.append(
                _Scored(network["plan"], network["seed"], "argmax", split, own, dict.fromkeys(own, network["group"]))
            )
    return found


def _ensemble_scores(run: RunDir, config: Config, plans: dict[str, Plan]) -> list[_Scored]:
    """Scores of the plans in which several networks predict a task together, by Ray tasks."""
    import ray

    wanted = [
        (name, config.seed + s)
        for name, plan in plans.items()
        if plan.groups.has_ensemble
        for s in range(config.retrain.seeds)
    ]
    if not wanted:
        return []
    needs = _resources(config)
    score = ray.remote(_score_ensemble).options(
        num_cpus=needs["CPU"], num_gpus=needs.get("GPU", 0), max_retries=config.retrain.max_failures
    )
    references = [score.remote(run.uri, config.model_dump(), name, seed) for name, seed in wanted]
    return [
        _Scored(name, seed, "ensemble", split, scores, plans[name].groups.serving)
        for (name, seed), by_split in zip(wanted, wait_for(lambda: ray.get(references)), strict=True)
        for split, scores in by_split.items()
    ]


def _score_ensemble(run: str, config: dict[str, Any], plan: str, seed: int) -> dict[str, Scores]:
    """A Ray task."""
    import torch

    torch.set_num_threads(1)
    return ensemble_scores(Storage(run), Config.model_validate(config), plan, seed, _device())


@dataclass(frozen=True)
class _Scored:
    """Scores of some tasks on a split; `group` is the group that serves each task."""

    plan: str
    seed: int
    serving: Serving
    split: str
    scores: Scores
    group: dict[str, int]


def _results(scored: list[_Scored]) -> pa.Table:
    """One row per plan, seed, task, split, way of serving and metric."""
    columns = ("plan", "group", "task", "split", "serving", "metric", "value", "seed")
    rows = [
        (own.plan, own.group[task], task, own.split, own.serving, metric, value, own.seed)
        for own in scored
        for task, metrics in own.scores.items()
        for metric, value in metrics.items()
    ]
    types = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.string(), pa.string(), pa.float64(), pa.int64())
    schema = pa.schema(list(zip(columns, types, strict=True)))
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows], schema=schema)


def _costs(networks: list[dict[str, Any]]) -> pa.Table:
    """samples x epochs x parameters, and seconds of training, of every network."""
    types = {"plan": pa.string(), "group": pa.int64(), "seed": pa.int64(), "cost": pa.int64(), "seconds": pa.float64()}
    rows = [{key: network[key] for key in types} for network in networks]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
