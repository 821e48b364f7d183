"""The search within a run: groups are measured by short trainings, and the best partition of them is found.

A round asks for as many groups as its share of the budget, trains their networks as trials of Ray Tune, each for a
fraction of a plan's epochs, and tells their gains over one network of all tasks that was trained alike, on validation
rows. What is asked depends on what was measured alone, and every network is kept under what decides it: a search that
was interrupted finds what it has measured, and goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError, StgRayError
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.search.candidates import GroupTasks, candidates_of, mean_affinity, resampled
from stg_ray.retraining.search.proposals import members_of
from stg_ray.retraining.search.search import GroupSearch
from stg_ray.retraining.search.size import Size
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trained import Trained
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task
from stg_ray.training.length import LENGTH
from stg_ray.training.metrics import LEAST_R2, primary_metric

N_RANDOM = 100
"""Random groupings that the best one is compared with, by what is expected of them."""
MOST_NETWORKS = 20_000
"""More short trainings than anybody waits for, nor the surrogate has memory for."""


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
    size = Size.of(config, len(ours.groups), _epochs_of_plans(run, config))
    matrices = [TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet")) for name in config.affinity.methods]
    search = GroupSearch(
        len(tasks),
        (size.fewest, size.groups),
        size.networks,
        candidates=candidates_of(
            config, ours, matrices, size, group_tasks, resampled(run, config.affinity.methods, matrices)
        ),
        affinity=mean_affinity(matrices),
        seed=config.seed,
    )
    progress.note(
        f"search: up to {size.networks} networks of {size.epochs} epochs, {size.cost:.1f} times the training of "
        f"{size.groups} groups"
    )
    measured = _Measured(run, config, tasks, size, profiled if config.search.start == "profiled" else None)
    while groups := search.ask(at_least=-(-size.networks // config.search.rounds)):
        for group, gains in zip(groups, measured.gains(groups, progress), strict=True):
            search.tell(group, gains)
    found = Groups.from_labels(ours.tasks, search.best(), "searched")
    forecast = Forecast.of(search, config.seed)
    run.write_json("search.json", measured.report(size, found, forecast))
    failed = f"; {len(measured.trained.reasons)} networks could not be trained" if measured.trained.reasons else ""
    progress.note(
        f"search: groups of {', '.join(str(len(members)) for members in found.groups)} after {len(measured.rows)} "
        f"networks, of which {forecast.expected:+.4f} +- {forecast.error:.4f} is expected on validation rows over one "
        f"network of all tasks trained as long, and {forecast.over_random:+.4f} over random groups of these "
        f"sizes{failed}"
    )
    return found


@dataclass(frozen=True)
class Forecast:
    """What the surrogate expects of the best partition, in short trainings: mean gains over tasks, on validation rows.

    The largest of many noisy measurements is too large; the surrogate, which knows the noise, takes that back.

    Attributes:
        expected: over one network of all tasks.
        error: standard deviation of that.
        over_random: over random groups of the same sizes.
        better_than: share of these random groupings of which less is expected.
    """

    expected: float
    error: float
    over_random: float
    better_than: float

    @classmethod
    def of(cls, search: GroupSearch, seed: int) -> Forecast:
        """Predict the best partition of a search, and random ones, drawn with a seed."""
        surrogate, best, rng = search.surrogate(), search.best(), generator(Stream.FORECAST, seed)
        mean, deviation = surrogate.predict(members_of(best))
        others = np.array([surrogate.predict(members_of(rng.permutation(best)))[0].sum() for _ in range(N_RANDOM)])
        n_tasks = len(best)
        return cls(
            expected=float(mean.sum() / n_tasks),
            error=float(np.sqrt(np.square(deviation).sum()) / n_tasks),
            over_random=float((mean.sum() - others.mean()) / n_tasks),
            better_than=float((others < mean.sum()).mean()),
        )


@dataclass
class _Measured:
    """The networks that a search has measured.

    Attributes:
        start: digest of the profiled network, if they start from that.
        trained: all networks so far.
        rows: of search.json, one for each network.
    """

    run: RunDir
    config: Config
    tasks: tuple[Task, ...]
    size: Size
    start: str | None

    def __post_init__(self) -> None:
        self.trained = Trained()
        self.rows: list[dict[str, Any]] = []
        self.together: np.ndarray | None = None

    def gains(self, groups: list[np.ndarray], progress: StageProgress) -> list[np.ndarray]:
        """Train networks and return the (K,) gains of their tasks over one network of all; NaN where there is none.

        A group whose network cannot be trained counts as the worst that was measured.
        """
        specs = [self._spec(group, len(self.rows) + i) for i, group in enumerate(groups)]
        self.trained.train(self.run, self.config, specs, progress, "of the search")
        gains = [self._gain(group, spec) for group, spec in zip(groups, specs, strict=True)]
        worst = min([0.0, *(float(np.nanmin(gain)) for gain in gains if gain is not None and np.isfinite(gain).any())])
        known = [np.where(group, worst, np.nan) if g is None else g for group, g in zip(groups, gains, strict=True)]
        for spec, gain in zip(specs, known, strict=True):
            of_tasks = {task.name: float(g) for task, g in zip(self.tasks, gain, strict=True) if np.isfinite(g)}
            self.rows.append({"tasks": list(spec.tasks), "gains": of_tasks})
        return known

    def report(self, size: Size, found: Groups, forecast: Forecast) -> dict[str, Any]:
        """Return the content of search.json."""
        return {
            "groups": found.groups,
            **asdict(forecast),
            "epochs": size.epochs,
            "cost": len(self.rows) / size.networks * size.cost,
            "networks": len(self.rows),
            "measured": self.rows,
        }

    def _spec(self, group: np.ndarray, number: int) -> NetworkSpec:
        names = tuple(task.name for task, is_member in zip(self.tasks, group, strict=True) if is_member)
        seed = self.config.seed
        return NetworkSpec("search", number, names, seed, seed, self.size.epochs, start=self.start, probe=True)

    def _gain(self, group: np.ndarray, spec: NetworkSpec) -> np.ndarray | None:
        """The gains of a network's tasks; None where it could not be trained."""
        folder = network_folder(spec, self.config)
        if reason := self.trained.reasons.get(folder):
            if self.together is None:
                raise StgRayError(f"the search's network of all tasks could not be trained: {reason}")
            return None
        of_tasks = self.run.read_json(f"{folder}/network.json")["scores"]["val"]
        scores = np.full(len(self.tasks), np.nan)
        for t in np.flatnonzero(group):
            task = self.tasks[t]
            metric = primary_metric(task, self.config.metric)
            score = of_tasks[task.name].get(metric, np.nan)
            scores[t] = max(score, LEAST_R2) if metric == "r2" else score
        if self.together is None:
            self.together = scores
        return np.asarray(scores - self.together)


def check_search(config: Config, tasks: Sequence[str]) -> None:
    """Check the settings of a search before anything runs.

    Raises:
        InputError: more groups than tasks, too many networks, or a candidate that lacks a task or has another.
    """
    if "searched" not in config.retrain.plans:
        return
    if len(tasks) < 2 or config.search.n_groups(1)[1] > len(tasks):
        raise InputError(f"search.groups={config.search.groups} but there are {len(tasks)} tasks: expected 1 to that")
    for number, groups in enumerate(config.search.candidates):
        named = {name for group in groups for name in group}
        for odd, what in ((set(tasks) - named, "lacks"), (named - set(tasks), "names")):
            if odd:
                raise InputError(
                    f"search.candidates: candidate {number} {what} {sorted(odd)[0]!r}: expected every task in one group"
                )
    if (networks := config.search.cost * len(tasks) / config.search.length) > MOST_NETWORKS:
        raise InputError(
            f"search.cost={config.search.cost:g} and search.length={config.search.length:g} allow {networks:,.0f} "
            f"networks: expected at most {MOST_NETWORKS:,}"
        )


def _epochs_of_plans(run: RunDir, config: Config) -> int:
    """Epochs of a plan's networks; where scores decide them, they are taken to be those of the profile."""
    if config.retrain.epochs != "auto":
        return config.retrain.epochs
    return config.profile.epochs if config.profile.epochs != "auto" else int(run.read_json(LENGTH)["epochs"])
