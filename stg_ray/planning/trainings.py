"""The trainings of the retrain stage in a plan: each network once, those of each plan, and the time of all."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from stg_ray.artifacts.groups import Groups
from stg_ray.cluster.placement import cpus_here
from stg_ray.config import Config, TrainingConfig
from stg_ray.config.plans import trained_plans
from stg_ray.data.parts import PartIndex
from stg_ray.meta.network import meta_network
from stg_ray.models import BranchedNetwork, build_network
from stg_ray.planning.episodes import EpisodePace, samples_of_epoch
from stg_ray.planning.networks import Place, distinct_networks, expected_networks, place_of
from stg_ray.planning.timing import AnyPace, measure_pace, seconds_of_starts, seconds_of_trials
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.shown import counted, rough_time
from stg_ray.tasks import Task, TaskSet


def trainings(
    config: Config,
    task_set: TaskSet,
    index: PartIndex,
    episodes: EpisodePace | None,
    ours: Groups | None,
    there: Collection[Place],
    searched: Groups | None,
) -> tuple[list[tuple[str, str]], float]:
    """Describe the training of all networks, each once, then of those of each plan (random groups are one line); and
    the seconds of all. Networks that are there are only counted; a search whose groups are known has ended.
    Initialisations have a pace of episodes."""
    cpus, starts = cpus_here(), seconds_of_starts(config)
    epochs_bound = at_most(config.retrain)
    config, specs = expected_networks(config, index, ours, searched)
    if not specs:
        return [("retrain", "no plans")], 0.0
    n_all = len(distinct_networks(config, specs))
    specs = [spec for spec in specs if spec.probe or place_of(spec) not in there]
    distinct = distinct_networks(config, specs)
    kept = f"{n_all - len(distinct)} of {counted(n_all, 'network')} are trained"
    if not specs:
        return [("retrain", f"{kept}; they are scored in a moment")], 1.0
    tasks = {task.name: task for task in index.tasks}
    sizes = {
        (members, branches): _n_parameters(config, index, [tasks[name] for name in members], branches)
        for members, branches in {(spec.tasks, spec.branches) for spec in specs}
    }
    pace: AnyPace = episodes or measure_pace(config, config.retrain, task_set, index)
    most = "at most " if config.grouping.groups == "auto" and ours is None else ""

    def text(networks: list[NetworkSpec], plan: str, start: float = 0.0) -> str:
        cost = sum(
            sizes[spec.tasks, spec.branches] * int(spec.epochs) * samples_of_epoch(config, index, len(spec.tasks))
            for spec in networks
        )
        lengths = sorted({int(spec.epochs) for spec in networks})
        epochs = " or ".join([*map(str, lengths[:-1]), counted(lengths[-1], "epoch")])
        seconds = start + seconds_of_trials(networks, pace, index, cpus, config, config.retrain.workers)
        bound = most or epochs_bound  # of everything in the line
        what = f"{len(networks)} {plan}" if plan else counted(len(networks), "network")
        return f"{bound}{what}, {epochs}, cost {cost:.2e}, {rough_time(seconds)}"

    titles = {name: f"of {plan.of_all_draws.name}" for name, plan in trained_plans(config.retrain).items()}
    by_plan: dict[str, list[NetworkSpec]] = {}
    for spec in specs:
        by_plan.setdefault(titles.get(spec.plan, "of the search"), []).append(spec)
    before = f"{kept}; " if len(distinct) < n_all else ""
    rows = [("retrain", f"{before}{text(distinct, '', starts)} on {counted(cpus, 'CPU')}")]
    rows += [("", text(networks, title)) for title, networks in sorted(by_plan.items())]
    return rows, starts + seconds_of_trials(distinct, pace, index, cpus, config, config.retrain.workers)


def _n_parameters(config: Config, index: PartIndex, tasks: Sequence[Task], branches: Sequence[int]) -> int:
    if config.retrain.learner != "joint":
        return meta_network(config, index, index.tasks[0].kind, 0).n_parameters
    network = build_network(config.model, index, tasks, 0)
    if branches:
        network = BranchedNetwork(network, branches, config.retrain.shared_layers, frozen=False)
    return network.n_parameters


def at_most(training: TrainingConfig) -> str:
    """Return the words before a length that is the most that `auto` allows; none before one that was given."""
    return "at most " if training.epochs == "auto" else ""
