"""The plan of a run: its stages, their costs and times, and its nodes, without running it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from stg_ray.affinities.estimators import estimators_of
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.storage import Storage
from stg_ray.checks import check
from stg_ray.cluster.placement import Resources, cpus_here, place, place_trials
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, index_of, read_index, read_task_set
from stg_ray.data.sources import load_task_set
from stg_ray.data_maps.state import snapshot_epochs
from stg_ray.models import build_network
from stg_ray.planning.episodes import EpisodePace, measure_episodes
from stg_ray.planning.networks import Place, distinct_networks, epochs_at_most, expected_networks, groups_text
from stg_ray.planning.rough import (
    affinity_seconds,
    grouping_seconds,
    layout_seconds,
    report_seconds,
    rows_looked_at,
)
from stg_ray.planning.timing import START_SECONDS, TRIAL_SECONDS, Pace, measure_pace
from stg_ray.planning.trainings import at_most, trainings
from stg_ray.profiling.stage import most_workers, place_profile
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.settling import settle
from stg_ray.shown import counted, ranged, rough_time
from stg_ray.tasks import TaskSet
from stg_ray.tasks.about import about
from stg_ray.tasks.checks import check_varied
from stg_ray.tasks.notes import noted
from stg_ray.training.auto import workers_pay
from stg_ray.training.looks import share_with_looks
from stg_ray.tuning.stage import plan_trials

ROUGH = ("parts", "affinity", "group", "report")
"""Stages whose times are rough: no step of them is timed here."""

UNIT = "samples x epochs x parameters"


def estimate(
    config: Config,
    nodes: Mapping[str, Resources] | None = None,
    done: Collection[str] = (),
    parts: Storage | None = None,
    ours: Groups | None = None,
    there: Collection[Place] = (),
    searched: Groups | None = None,
) -> list[tuple[str, str]]:
    """Estimate what each stage would do, and how long it and all of them take.

    Costs are samples x epochs x parameters. Times are those of this machine's CPUs, from training steps that are
    measured for a second or two. With `grouping.groups: auto` the number of groups is not known yet, and with `epochs:
    auto` the length of the trainings: the largest that may be chosen are assumed, and the line begins with "at most".

    Args:
        nodes: resources of the nodes of a cluster, by their names; lines about what each holds at once are added.
        done: stages that are done, which take no time.
        parts: where the task set is laid out; where it is not, it is loaded.
        ours: the groups, where they are known.
        there: networks that are trained already.
        searched: the groups of the search, where it has ended.

    Returns:
        (name, text) of each line; the name is empty where a line continues a stage.

    Raises:
        InputError: the run would be refused.
    """
    task_set, index, said = _loaded(config) if parts is None else (read_task_set(parts), read_index(parts), [])
    config = settle(config, index)
    check(config, index)
    n_tasks, cpus = len(index.names), cpus_here()
    pace = measure_pace(config, config.profile, task_set, index)
    here = [{"CPU": float(cpus)}]
    workers, _ = place_profile(config, index, here)
    profile = START_SECONDS + epochs_at_most(config.profile, index) * index.n_samples() * pace.step[1] / workers
    looked = profile * share_with_looks(config.profile, n_tasks)
    tuning = _tuning(config, index, pace, cpus) if config.tune.trials else ("", 0.0)
    episodes = measure_episodes(config, task_set, index) if config.retrain.learner != "joint" else None
    of_trainings, retrain = trainings(config, task_set, index, episodes, ours, there, searched)
    seconds = {
        "parts": layout_seconds(index),
        "tune": tuning[1],
        "profile": looked,
        "affinity": affinity_seconds(config, index, pace, profile, cpus)
        + _meta_profile_seconds(config, index, episodes),
        "group": grouping_seconds(n_tasks),
        "retrain": retrain,
        "report": report_seconds(n_tasks),
    }
    seconds = {name: 0.0 if name in done else own for name, own in seconds.items()}
    roughly = {name: f"; {rough_time(seconds[name], 'roughly')}" for name in ROUGH}
    laid_out = f"{n_tasks} tasks, {index.n_samples():,} training samples in {index.n_parts()} parts"
    lines = [
        ("parts", laid_out + roughly["parts"]),
        *(("", line) for line in said),
        *([("tune", tuning[0])] if tuning[0] else []),
        ("profile", _profile_text(config, index, looked, list(nodes.values()) if nodes else here)),
        ("affinity", _affinity_text(config, index) + roughly["affinity"]),
        ("group", f"{config.grouping.method}, {groups_text(config, index.names)}{roughly['group']}"),
        *of_trainings,
        ("report", f"one page{roughly['report']}"),
        *_placement_rows(config, index, nodes or {"": here[0]}),
        *_idle_rows(config, index, list((nodes or {}).values()), expected_networks(config, index, ours, searched)[1]),
        ("total", _total_text(config, sum(seconds.values()), cpus)),
    ]
    return _without_done(lines, done)


def _loaded(config: Config) -> tuple[TaskSet, PartIndex, list[str]]:
    """Return the task set, the index of its parts as they would be, and what is said of it."""
    with noted() as notes:
        task_set = load_task_set(config.data, config.seed)
    check_varied(task_set.inputs)
    index = index_of(task_set, part_rows=config.data.rows_of_a_part, normalize=config.data.normalize)
    return task_set, index, [*about(task_set), *notes]


def _without_done(lines: list[tuple[str, str]], done: Collection[str]) -> list[tuple[str, str]]:
    """The lines, with one for each stage that is done."""
    left, stage = [], ""
    for name, text in lines:
        stage = name or stage
        if stage not in done:
            left.append((name, text))
        elif name:
            left.append((name, "done"))
    return left


def _profile_text(config: Config, index: PartIndex, seconds: float, nodes: Sequence[Resources]) -> str:
    n_train, epochs = index.n_samples(), epochs_at_most(config.profile, index)
    parameters = build_network(config.model, index, index.tasks, config.seed).n_parameters
    snapshots = len(snapshot_epochs(epochs, config.profile.snapshots))
    state_bytes = n_train * (12 + 8 * len(index.names))
    length = f"{at_most(config.profile)}{counted(epochs, 'epoch')}"
    return (
        f"{length}, {_workers_text(config, index, nodes)}, {parameters:,} parameters, "
        f"cost {n_train * epochs * parameters:.2e} ({UNIT}); data maps of {_size(state_bytes * snapshots)} "
        f"({counted(snapshots, 'snapshot')}); {rough_time(seconds)} on {counted(cpus_here(), 'CPU')}"
    )


def _affinity_text(config: Config, index: PartIndex) -> str:
    bound = "at most " if config.affinity.samples == "auto" else ""
    by_gradients = any(issubclass(each, GradientEstimator) for each in estimators_of(config.affinity, index).values())
    gradients = f", gradients of {bound}{rows_looked_at(config, index):,} samples" if by_gradients else ""
    epochs = counted(config.meta.profile_epochs, "epoch")
    meta = f", after {epochs} of one initialisation" if config.affinity.start == "meta" else ""
    return f"{', '.join(config.affinity.methods)}: {len(index.names)} x {len(index.names)}{gradients}{meta}"


def _meta_profile_seconds(config: Config, index: PartIndex, episodes: EpisodePace | None) -> float:
    """Seconds of the initialisation of all tasks at which they are compared, if they are."""
    if config.affinity.start != "meta" or episodes is None:
        return 0.0
    epoch = episodes.epoch(len(index.names), index.n_samples(), index.n_samples("val"))
    return TRIAL_SECONDS + config.meta.profile_epochs * epoch


def _total_text(config: Config, seconds: float, cpus: int) -> str:
    """Say what all stages that are left take together, and what that rests on."""
    if not seconds:
        return "nothing is left to do"
    trained = [config.profile] + [config.retrain] * bool(config.retrain.plans)
    bound = "at most " if any(at_most(each) for each in trained) or config.grouping.groups == "auto" else ""
    rough = f"{', '.join(ROUGH[:-1])} and {ROUGH[-1]}"
    time = f"{bound}{rough_time(seconds)} on {counted(cpus, 'CPU')}"
    return f"{time}; trainings by steps that were timed here; {rough} are rough"


def _tuning(config: Config, index: PartIndex, pace: Pace, cpus: int) -> tuple[str, float]:
    """Describe the rounds of tuning, by the pace of the configuration as given; and their seconds."""
    trials, rounds = plan_trials(config, index)
    most, before, seconds, texts = epochs_at_most(config.profile, index), 0, START_SECONDS, []
    epoch = pace.epoch(len(index.names), index.n_samples(), index.n_samples("val"))
    for number, each in enumerate(rounds):
        until = most if each.until == "end" else each.until
        in_turn = math.ceil((each.trials + (number > 0)) / cpus)  # the configuration as given is in every round
        seconds += in_turn * (TRIAL_SECONDS + (until - before) * epoch)
        texts.append(f"{each.trials} to {'the end' if each.until == 'end' else f'epoch {until}'}")
        before = until
    rounds_text = f"{', '.join(texts)} (and the configuration as given)"
    time = f"{at_most(config.profile)}{rough_time(seconds)} on {counted(cpus, 'CPU')}"
    return f"{len(trials)} trials of {', '.join(trials[0])}: {rounds_text}; {time}", seconds


def _placement_rows(config: Config, index: PartIndex, nodes: Mapping[str, Resources]) -> list[tuple[str, str]]:
    """Describe the work that the nodes of a cluster hold at once in each stage; of this machine, what it cannot."""
    resources_of_nodes = list(nodes.values())
    workers, profile = place_profile(config, index, resources_of_nodes)
    workers_each, trials = place_trials(resources_of_nodes, config.retrain.workers, config.retrain.gpu_share)
    stages = {
        "workers": profile,
        "actors": place(resources_of_nodes, config.affinity.gpus),
        "trials" if workers_each == 1 else f"workers of trials ({workers_each} each)": trials,
    }
    instead = [f"{name}: {placement.instead}" for name, placement in stages.items() if placement.instead]
    if "" in nodes:
        return [("beware" * (number == 0), text) for number, text in enumerate(instead)]
    each = ", ".join(f"{name} of {placement.each}" for name, placement in stages.items())
    rows = [("cluster", f"{counted(len(nodes), 'node')}, {counted(workers, 'worker')}; {each}")]
    rows += [("", text) for text in instead]
    for number, (node, resources) in enumerate(nodes.items()):
        has = " and ".join(counted(int(resources[kind]), kind) for kind in ("CPU", "GPU") if resources.get(kind))
        words = ((name.partition("s"), placement.on_nodes[number]) for name, placement in stages.items())
        holds = ", ".join(counted(most, noun) + rest for (noun, _, rest), most in words)
        rows.append(("", f"{node} with {has or 'no CPUs'}: up to {holds} at a time"))
    return rows


def _idle_rows(
    config: Config, index: PartIndex, nodes: Sequence[Resources], specs: Sequence[NetworkSpec]
) -> list[tuple[str, str]]:
    """Say which setting gives the nodes of a cluster work that trainings of one worker each leave idle."""
    networks = [spec for spec in distinct_networks(config, specs) if not spec.probe]
    if not nodes or not networks or config.retrain.workers > 1 or config.retrain.learner != "joint":
        return []
    _, placement = place_trials(nodes, 1, config.retrain.gpu_share)
    each = min(placement.at_once // len(networks), config.retrain.batch_size)
    network = build_network(config.model, index, index.tasks, config.seed)
    has_gpu = "GPU" in placement.resources
    if each < 2 or not (has_gpu or workers_pay(network, index.input_shape, config.retrain.batch_size, [1] * each)):
        return []
    room = f"room for {counted(placement.at_once, 'trial')} at a time, {counted(len(networks), 'network')} of plans"
    return [("", f"{room}: with retrain.workers={each} so many workers train each together")]


def _workers_text(config: Config, index: PartIndex, nodes: Sequence[Resources]) -> str:
    """Say how many workers the profile has on these nodes."""
    if isinstance(config.profile.workers, tuple):
        least, most = config.profile.workers
        return ranged(least, most, "worker")
    if most_workers(config, index, nodes) == "auto":
        return "a worker for each GPU, else CPU"
    return counted(place_profile(config, index, nodes)[0], "worker")


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} TiB"
