"""The retrain stage: it trains, publishes and scores the networks of all plans."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.looks import count_look
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import PartlyFailed
from stg_ray.progress import StageProgress
from stg_ray.retraining.plans import NetworkSpec, make_plans, network_specs
from stg_ray.retraining.results import argmax_scores, costs_table, ensembles, results_table
from stg_ray.retraining.trial import is_finished, network_folder
from stg_ray.retraining.trials import run_trials


def run(run_dir: RunDir, config: Config, progress: StageProgress) -> None:
    """Train the networks of all plans and write plans/, models/, results.parquet, costs.parquet and failures.json.

    Networks that are finished for this configuration are kept; those that are missing are submitted.

    Raises:
        PartlyFailed: trials failed; failures.json names them, all others are finished and in the results.
    """
    ours = Groups.from_dict(run_dir.read_json("groups.json"))
    plans = make_plans(ours, read_index(run_dir.sub("parts")).tasks, config)
    for name, plan in plans.items():
        run_dir.write_json(f"plans/{name}.json", plan.groups.to_dict())
    profiled = hashlib.sha256(run_dir.read_bytes("profile/network.pt")).hexdigest()[:16]
    specs = list(network_specs(plans, config, profiled))
    unique = {network_folder(spec, config): spec for spec in reversed(specs)}
    missing = [spec for folder, spec in reversed(unique.items()) if not is_finished(run_dir, folder)]
    reasons = run_trials(run_dir, config, missing, progress) if missing else {}
    failed = {spec: reasons[folder] for spec in specs if (folder := network_folder(spec, config)) in reasons}
    networks = _publish(run_dir, config, [spec for spec in specs if spec not in failed])
    failed_trainings = {(spec.plan, spec.seed) for spec in failed}
    alone = [network for network in networks if not plans[network["plan"]].ensemble]
    scores = argmax_scores(alone, plans) + ensembles(run_dir, config, plans, failed_trainings)
    run_dir.write_parquet("results.parquet", results_table(scores))
    if scores:
        count_look(run_dir, config)
    run_dir.write_parquet("costs.parquet", costs_table(networks))
    run_dir.write_json("failures.json", [{**spec.to_dict(), "reason": reason} for spec, reason in failed.items()])
    kept = f", {len(unique) - len(missing)} of them from before" if len(missing) < len(unique) else ""
    progress.summary = f"{len(unique) - len(reasons)} networks of {len(plans)} plans{kept}"
    if failed:
        progress.summary += f"; {len(reasons)} failed"
        named = "; ".join(f"{spec.title}: {reason}" for spec, reason in list(failed.items())[:5])
        raise PartlyFailed(
            f"{len(reasons)} of {len(unique)} networks could not be trained ({named}); the others are kept"
        )


def _publish(run: RunDir, config: Config, specs: Sequence[NetworkSpec]) -> list[dict[str, Any]]:
    """Make models/ hold these networks and no others, and return the contents of each network.json with its spec."""
    run.delete("models")
    networks = []
    for spec in specs:
        folder = network_folder(spec, config)
        run.copy(f"{folder}/network.pt", f"{spec.folder}/network.pt")
        networks.append({**run.read_json(f"{folder}/network.json"), **spec.to_dict()})
        run.write_json(f"{spec.folder}/network.json", networks[-1])
    return networks
