"""The search within a run: groups are measured by short trainings, and the best partition of them is found.

A round asks for as many groups as its share of the budget, trains their networks as trials of Ray Tune, each for a
fraction of a plan's epochs, and tells their gains over one network of all tasks that was trained alike, on validation
rows. What is asked depends on what was measured alone, and every network is kept under what decides it: a search that
was interrupted finds what it has measured, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.outlook import FORECAST
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import StgRayError
from stg_ray.progress import StageProgress
from stg_ray.retraining.jackknife import jackknife_error
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.plans import conditions_of
from stg_ray.retraining.search.candidates import GroupTasks, candidates_of, mean_affinity, resampled
from stg_ray.retraining.search.expected import Expected
from stg_ray.retraining.search.features import write_features
from stg_ray.retraining.search.partitions import key_of, members_of
from stg_ray.retraining.search.search import GroupSearch
from stg_ray.retraining.search.size import FINAL_LENGTH, Size
from stg_ray.retraining.specs import NetworkSpec, epochs_of_plans
from stg_ray.retraining.trained import Trained
from stg_ray.shown import counted
from stg_ray.tasks import Task
from stg_ray.training.metrics import LEAST_R2, primary_metric


def search_groups(
    run: RunDir, config: Config, ours: Groups, profiled: str, group_tasks: GroupTasks, progress: StageProgress
) -> Groups:
    """Search for the groups of the plan `searched`, and write search.json.

    Args:
        run: with the artifacts of all earlier stages.
        config: of the run.
        ours: the groups of groups.json.
        profiled: digest of the profiled network.
        group_tasks: `grouping.group_tasks`.
        progress: of the retrain stage.

    Raises:
        StgRayError: the network of all tasks, which the others are compared with, could not be trained.
    """
    tasks = read_index(run.sub("parts")).tasks
    config = settled(config, run.read_json(FORECAST) if run.exists(FORECAST) else None)
    size = Size.of(config, len(ours.groups), epochs_of_plans(run, config), ours.tasks)
    search = _search_of(run, config, ours, size, group_tasks)
    then = f", then {size.finalists} groupings in trainings of {size.final_epochs}" if size.finalists else ""
    progress.note(
        f"search: up to {counted(size.networks, 'network')} of {counted(size.epochs, 'epoch')} {_start_of(config)}"
        f"{then}, {size.cost:.1f} times the training of {size.groups} groups"
    )
    start = profiled if config.search.start == "profiled" else None
    measured = _Measured(run, config, tasks, size.epochs, start, config.search.frozen)
    while groups := search.ask(at_least=-(-size.networks // config.search.rounds)):
        for group, gains in zip(groups, measured.gains(groups, progress), strict=True):
            search.tell(group, gains)
    # As a plan's networks are trained, but half as long.
    longer = _Measured(run, config, tasks, size.final_epochs, profiled if config.retrain.start == "profiled" else None)
    best, finals = _decide(search, ours, size, longer, progress)
    found = Groups.from_labels(ours.tasks, best, "searched")
    expected = Expected.of(search, best, config.seed, measured.error_of_rows(best))
    about: dict[str, Any] = {
        "groups": found.groups,
        **asdict(expected),
        "epochs": size.epochs,
        "start": config.search.start,
        "cost": size.cost_of(len(measured.rows), len(longer.rows)),
        "networks": len(measured.rows),
        "measured": measured.rows,
        "finalists": finals,
        **({"final_epochs": size.final_epochs} if finals else {}),
    }
    run.write_json("search.json", about)
    run.delete(".features")
    progress.note(_text(about, len({**measured.trained.reasons, **longer.trained.reasons})))
    return found


def _start_of(config: Config) -> str:
    """Where short trainings start, in words."""
    if config.search.start == "scratch":
        return "from scratch"
    frozen = f", {config.search.frozen:.0%} of whose layers are frozen" if config.search.frozen else ""
    return f"from the profiled network{frozen}"


def settled(config: Config, told: Mapping[str, Any] | None) -> Config:
    """Replace `search.start: auto` by where short trainings tell the most.

    Where groups that are trained from scratch are clearly expected to beat one network, the profiled one holds tasks
    back, and what goes on from it tells little; from scratch it takes half of a training
    (jobs/bench/short_trainings.py, jobs/bench/does_it_help.py).

    Args:
        told: the forecast of the run, where it has one.
    """
    search = config.search
    if search.start != "auto":
        return config
    changes: dict[str, Any] = {"start": "profiled"}
    if told is not None and told["outlook"] == "gain" and config.retrain.start != "profiled":
        changes = {"start": "scratch", "length": max(search.length, FINAL_LENGTH), "frozen": 0.0}
    return config.model_copy(update={"search": search.model_copy(update=changes)})


def _search_of(run: RunDir, config: Config, ours: Groups, size: Size, group_tasks: GroupTasks) -> GroupSearch:
    """The search of a run, which knows its affinities and its first candidates."""
    names = config.affinity.methods
    matrices = [TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet")) for name in names]
    return GroupSearch(
        len(ours.tasks),
        (size.fewest, size.groups),
        size.networks,
        candidates=candidates_of(config, ours, matrices, size, group_tasks, resampled(run, names, matrices)),
        affinity=mean_affinity(matrices),
        seed=config.seed,
        conditions=conditions_of(config, ours.tasks),
    )


def _text(about: Mapping[str, Any], n_failed: int) -> str:
    """What the search has found, in a line.

    Args:
        about: the content of search.json.
        n_failed: networks that could not be trained.
    """
    sizes = ", ".join(str(len(members)) for members in about["groups"])
    finals = about["finalists"]
    best_of = ""
    if finals:
        gain = max(final["gain"] for final in finals)
        best_of = f", the best of {len(finals)} groupings in longer trainings ({gain:+.4f} over one network)"
    failed = f"; {counted(n_failed, 'network')} could not be trained" if n_failed else ""
    return (
        f"search: groups of {sizes} after {about['networks']} networks{best_of}; by the short trainings "
        f"{about['expected']:+.4f} +- {about['error']:.4f} is expected of them on validation rows over one network of "
        f"all tasks, and {about['over_random']:+.4f} over random groups of these sizes{failed}"
    )


def _decide(
    search: GroupSearch, ours: Groups, size: Size, longer: _Measured, progress: StageProgress
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Train the finalists for longer; the best partition (K,), and for search.json the gain of each over one network.

    Short trainings from the profile tell little where it is itself what holds the tasks back.
    """
    finalists = search.finalists(size.finalists, [ours.labels])
    if len(finalists) < 2:
        return finalists[0], []
    gains = longer.gains_of(finalists, progress)
    rows = [
        {"groups": Groups.from_labels(ours.tasks, labels, "finalist").groups, "gain": gain}
        for labels, gain in zip(finalists, gains, strict=True)
    ]
    return finalists[int(np.argmax(gains))], rows


@dataclass
class _Measured:
    """The networks that a search has measured.

    Attributes:
        epochs: of each.
        start: digest of the profiled network, if they start from that.
        frozen: share of its layers that stay as they are.
        trained: all networks so far.
        rows: of search.json, one for each network.
    """

    run: RunDir
    config: Config
    tasks: tuple[Task, ...]
    epochs: int
    start: str | None
    frozen: float = 0.0

    def __post_init__(self) -> None:
        self.trained = Trained()
        self.rows: list[dict[str, Any]] = []
        self.together: np.ndarray | None = None
        self.without_folds: dict[bytes, np.ndarray] = {}
        """By group, the (F, K) scores of its tasks without each fold of the validation rows."""

    def gains(self, groups: list[np.ndarray], progress: StageProgress) -> list[np.ndarray]:
        """Train networks and return the (K,) gains of their tasks over one network of all; NaN where there is none.

        A group whose network cannot be trained counts as the worst that was measured.
        """
        specs = [self._spec(group, len(self.rows) + i) for i, group in enumerate(groups)]
        folders = [network_folder(spec, self.config) for spec in specs]
        if self.frozen and self.start and not all(is_finished(self.run, folder) for folder in folders):
            write_features(self.run, self.config, self.start, self.frozen)
        self.trained.train(self.run, self.config, specs, progress, "of the search")
        gains = [self._gain(group, spec) for group, spec in zip(groups, specs, strict=True)]
        worst = min([0.0, *(float(np.nanmin(gain)) for gain in gains if gain is not None and np.isfinite(gain).any())])
        known = [np.where(group, worst, np.nan) if g is None else g for group, g in zip(groups, gains, strict=True)]
        for spec, gain in zip(specs, known, strict=True):
            of_tasks = {task.name: float(g) for task, g in zip(self.tasks, gain, strict=True) if np.isfinite(g)}
            self.rows.append({"tasks": list(spec.tasks), "gains": of_tasks})
        return known

    def gains_of(self, partitions: Sequence[np.ndarray], progress: StageProgress) -> list[float]:
        """Train the networks of partitions (K,), those that they share once; the mean gain over tasks of each."""
        groups = {key_of(group): group for labels in partitions for group in members_of(labels)}
        everything = np.ones(len(self.tasks), dtype=bool)
        asked = [everything, *(group for key, group in groups.items() if key != key_of(everything))]
        gains = dict(zip(map(key_of, asked), self.gains(asked, progress), strict=True))
        return [
            sum(float(np.nansum(gains[key_of(group)])) for group in members_of(labels)) / len(self.tasks)
            for labels in partitions
        ]

    def error_of_rows(self, labels: np.ndarray) -> float:
        """Return by how much other rows would change the mean gain of a partition (K,) into measured groups.

        It is a standard error, by the jackknife; 0 where it is not known, as of networks of earlier versions.
        """
        groups, everything = members_of(labels), np.ones(len(labels), dtype=bool)
        if not all(key_of(group) in self.without_folds for group in (everything, *groups)):
            return 0.0
        own = np.select(list(groups[:, None, :]), [self.without_folds[key_of(group)] for group in groups], np.nan)
        return jackknife_error(own - self.without_folds[key_of(everything)]) or 0.0

    def _spec(self, group: np.ndarray, number: int) -> NetworkSpec:
        names = tuple(task.name for task, is_member in zip(self.tasks, group, strict=True) if is_member)
        seed = self.config.seed
        return NetworkSpec(
            "search", number, names, seed, seed, self.epochs, start=self.start, probe=True, frozen=self.frozen
        )

    def _gain(self, group: np.ndarray, spec: NetworkSpec) -> np.ndarray | None:
        """The gains of a network's tasks; None where it could not be trained."""
        folder = network_folder(spec, self.config)
        if reason := self.trained.reasons.get(folder):
            if self.together is None:
                raise StgRayError(f"the search's network of all tasks could not be trained: {reason}")
            return None
        about = self.run.read_json(f"{folder}/network.json")
        if "without_folds" in about:
            without = np.array(about["without_folds"], dtype=np.float64)
            self.without_folds[key_of(group)] = np.full((len(without), len(group)), np.nan)
            self.without_folds[key_of(group)][:, group] = without
        of_tasks = about["scores"]["val"]
        scores = np.full(len(self.tasks), np.nan)
        for t in np.flatnonzero(group):
            task = self.tasks[t]
            metric = primary_metric(task, self.config.metric)
            score = of_tasks[task.name].get(metric, np.nan)
            scores[t] = max(score, LEAST_R2) if metric == "r2" else score
        if self.together is None:
            self.together = scores
        return np.asarray(scores - self.together)
