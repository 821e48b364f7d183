"""The retrain stage: it trains, publishes and scores the networks of all plans."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.looks import count_look
from stg_ray.artifacts.outlook import outlook_sentence
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.plans import trained_plans
from stg_ray.data.parts import read_index
from stg_ray.errors import PartlyFailed
from stg_ray.progress import StageProgress
from stg_ray.retraining.budget import allowed, allows_one, broken_plans, most_of_greedy
from stg_ray.retraining.cards import write_cards
from stg_ray.retraining.choice import choose, left_out
from stg_ray.retraining.events import write_events
from stg_ray.retraining.forecast import forecast
from stg_ray.retraining.greedy import Greedy, greedy_plan
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.plans import Plan, Spent, make_plans, network_specs
from stg_ray.retraining.results import Scored, argmax_scores, costs_table, ensembles, results_table
from stg_ray.retraining.row_noise import jackknifed_scores
from stg_ray.retraining.search.measuring import search_groups
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trained import Trained
from stg_ray.shown import counted, ranged
from stg_ray.training.length import WITHOUT_VALIDATION

HOW_TO_STOP = "; to train no groups, interrupt this and set retrain.forecast=stop"


def run(run_dir: RunDir, config: Config, progress: StageProgress, *, group_tasks: Callable[..., Groups]) -> None:
    """Tell what to expect, search for groups if `searched` is among the plans, train all plans, choose what to deploy.

    Writes forecast.json, search.json, plans/, models/, results.parquet, costs.parquet, failures.json and chosen.json.
    Networks that are finished for this configuration are kept; those that are missing are submitted. With
    `retrain.epochs: auto`, those that get the epochs of others are trained once these are.

    Args:
        group_tasks: `grouping.group_tasks`, which is passed in: no stage imports another.

    Raises:
        PartlyFailed: trials failed; failures.json names them, all others are finished and in the results.
    """
    ours = Groups.from_dict(run_dir.read_json("groups.json"))
    index = read_index(run_dir.sub("parts"))
    profiled = hashlib.sha256(run_dir.read_bytes("profile/network.pt")).hexdigest()[:16]
    plans = _planned(run_dir, config, ours, profiled, group_tasks, progress)
    for name, plan in plans.items():
        run_dir.write_json(f"plans/{name}.json", plan.groups.to_dict())
    trained = Trained()
    trained.train(run_dir, config, network_specs(plans, config, profiled), progress)
    spent = _epochs_spent(run_dir, config, plans, trained.specs)
    trained.train(run_dir, config, network_specs(plans, config, profiled, spent), progress)
    specs, reasons = trained.specs, trained.reasons
    failed = {spec: reasons[folder] for spec in specs if (folder := network_folder(spec, config)) in reasons}
    whole = [spec for spec in specs if spec not in failed]
    greedy = _selected(run_dir, config, plans, whole, ours, progress)
    networks = publish(run_dir, config, whole + ([] if greedy is None else greedy.specs))
    failed_trainings = {(spec.plan, spec.seed) for spec in failed}
    alone = [network for network in networks if "argmax" in plans[network["plan"]].servings]
    scores = argmax_scores(alone, plans) + ensembles(run_dir, config, plans, whole, failed_trainings)
    without_folds = jackknifed_scores(run_dir, config, plans, whole, failed_trainings)
    if greedy is not None:
        without_folds |= greedy.without_folds
        served = greedy.groups.serving
        scores += [Scored("greedy", seed, "ensemble", "val", own, served) for seed, own in greedy.scores.items()]
    results, costs = results_table(scores), costs_table(networks)
    run_dir.write_parquet("results.parquet", results)
    if scores:
        count_look(run_dir, config)
    run_dir.write_parquet("costs.parquet", costs)
    broken = broken_plans(config, plans)
    tables = results.to_pandas(), costs.to_pandas()
    chosen = choose(*tables, index, failed_trainings, config.metric, broken, without_folds)
    if chosen is not None:
        run_dir.write_json("chosen.json", chosen)
    elif broken and scores:
        progress.note(f"nothing is chosen to deploy{left_out(broken, plans)}")
    write_cards(run_dir, config, index, plans, networks, chosen)
    run_dir.write_json("failures.json", [{**spec.to_dict(), "reason": reason} for spec, reason in failed.items()])
    if lengths := _lengths(networks):
        progress.note(lengths)
    n_networks = trained.n_kept + trained.n_trained
    kept = f", {trained.n_kept} of them from before" if trained.n_kept else ""
    n_plans = len({trained_plans(config.retrain)[name].of_all_draws.name for name in plans})  # as they are named
    progress.summary = f"{counted(n_networks - len(reasons), 'network')} of {counted(n_plans, 'plan')}{kept}"
    if failed:
        progress.summary += f"; {len(reasons)} failed"
        named = "; ".join(f"{spec.title}: {reason}" for spec, reason in list(failed.items())[:5])
        raise PartlyFailed(
            f"{len(reasons)} of {n_networks} networks could not be trained ({named}); the others are kept"
        )


def _planned(
    run: RunDir,
    config: Config,
    ours: Groups,
    profiled: str,
    group_tasks: Callable[..., Groups],
    progress: StageProgress,
) -> dict[str, Plan]:
    """Make the plans: without those of groups where nothing is expected of them, with the one of a search if wanted."""
    index = read_index(run.sub("parts"))
    make = partial(make_plans, tasks=index.tasks, config=config, own_rows=index.common_share is not None)
    plans = make(ours)
    told = forecast(run, config, plans, list(network_specs(plans, config, profiled)), progress)
    if told is not None:
        none = told["outlook"] == "none"
        # Where the budget allows no network of all tasks, groups are needed whatever they bring.
        stops = config.retrain.forecast == "stop" and allows_one(config, ours.tasks)
        then = "; groups are trained no further (retrain.forecast=tell trains them)" if stops else HOW_TO_STOP
        progress.note(f"forecast: {outlook_sentence(told)}{then if none else ''}")
        if none and stops:
            one = Groups.from_labels(ours.tasks, np.zeros(len(ours.tasks), dtype=int), "one group")
            return make(one)
    if "searched" not in config.retrain.plans:
        return plans
    return make(ours, searched=search_groups(run, config, ours, profiled, group_tasks, progress))


def _selected(
    run: RunDir,
    config: Config,
    plans: dict[str, Plan],
    specs: Sequence[NetworkSpec],
    ours: Groups,
    progress: StageProgress,
) -> Greedy | None:
    """Add the plan `greedy` where it is asked for, and return it; its networks are others' too."""
    if "greedy" not in config.retrain.plans:
        return None
    tasks = read_index(run.sub("parts")).tasks
    most = most_of_greedy(config, ours)
    found = greedy_plan(run, config, allowed(config, ours.tasks, specs), tasks, most)
    if found is None:
        progress.note(f"greedy: no plan has all tasks in at most {most} networks; set retrain.networks higher")
        return None
    plans["greedy"] = Plan(found.groups, config.retrain.epochs, ensemble=True)
    run.write_json("plans/greedy.json", found.groups.to_dict())
    return found


def _epochs_spent(
    run: RunDir, config: Config, plans: dict[str, Plan], specs: Sequence[NetworkSpec]
) -> dict[tuple[str, int], int]:
    """Epochs of a network of all tasks in which it sees as many rows as all networks of a plan together, by (plan,
    seed), for the plans that others get their epochs from."""
    if not any(isinstance(plan.epochs, Spent) for plan in plans.values()):
        return {}
    index = read_index(run.sub("parts"))
    seen: dict[tuple[str, int], list[float]] = {}
    rows = index.n_samples()
    for spec in specs:
        if is_finished(run, folder := network_folder(spec, config)):
            about = run.read_json(f"{folder}/network.json")
            seen.setdefault((spec.plan, spec.seed), []).append(about["cost"] / about["parameters"])
            # Some rows may have no label at all; episodes are the same for all networks.
            if len(spec.tasks) == len(index.tasks) or config.retrain.learner != "joint":
                rows = round(about["cost"] / about["parameters"] / about["epochs"])
    whole = {key for key, own in seen.items() if len(own) == len(plans[key[0]].groups.groups)}
    return {key: max(1, round(sum(seen[key]) / rows)) for key in whole}


def _lengths(networks: Sequence[dict[str, Any]]) -> str:
    """Say how long networks were trained where that was left to their scores; empty where it was not."""
    lengths = [network["epochs"] for network in networks if "ended" in network]
    if not lengths:
        return ""
    text = f"{ranged(min(lengths), max(lengths), 'epoch')}, by the score on validation rows"
    ended = Counter(network["ended"] for network in networks if "ended" in network)
    if ended["max_epochs"]:
        text += f"; {ended['max_epochs']} of {len(lengths)} networks ended at retrain.max_epochs, before a plateau"
    if ended["number"]:
        text += f"; {ended['number']} of {len(lengths)} networks had no score on these rows and trained for "
        text += f"{WITHOUT_VALIDATION} times retrain.min_steps"
    return text


def publish(run: RunDir, config: Config, specs: Sequence[NetworkSpec]) -> list[dict[str, Any]]:
    """Make models/ hold these networks and no others, and return the contents of each network.json with its spec.

    They are copies of those under .networks/: what happens to one of both leaves the other whole.
    """
    run.delete("models")
    networks = []
    for spec in specs:
        folder = network_folder(spec, config)
        run.copy(f"{folder}/network.pt", f"{spec.folder}/network.pt")
        about = run.read_json(f"{folder}/network.json")
        networks.append({**about, **spec.to_dict(), "epochs": about["epochs"]})
        run.write_json(f"{spec.folder}/network.json", networks[-1])
        write_events(run, spec.folder, about)
    return networks
