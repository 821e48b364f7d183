"""The table of all tasks: scores, gains over each baseline with their intervals, and other metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stg_ray.report.comparison import Comparison, Difference, Trainings
from stg_ray.report.evidence import REGIONS, Evidence
from stg_ray.report.summary import SHORT, PlanRow, served_plans
from stg_ray.report.words import OTHERS
from stg_ray.training.metrics import primary_metric

NAN = float("nan")


@dataclass(frozen=True)
class TaskTable:
    """A row for each task, in the order of the groups.

    Attributes:
        subject: title of the plan whose scores and gains are shown; empty where nothing was trained.
        score: what the primary metric is called.
        baselines: titles of the plans that it is compared with.
        metrics: names of the metrics beside the primary one.
        rows: of the tasks.
    """

    subject: str
    score: str
    baselines: list[str]
    metrics: list[str]
    rows: list[TaskRow]

    @property
    def has_certainty(self) -> bool:
        """Whether it is known how certain tasks are of their groups."""
        return any(row.certainty is not None for row in self.rows)

    @property
    def has_positives(self) -> bool:
        """Whether the labels of test rows were counted."""
        return any(row.positives is not None for row in self.rows)

    @property
    def has_regions(self) -> bool:
        """Whether there is a data map."""
        return any(row.regions for row in self.rows)


@dataclass(frozen=True)
class TaskRow:
    """A task.

    Attributes:
        place: of the task among all of the task set.
        group: number of the group that serves it.
        certainty: how often it stays in it when samples are drawn anew; None where unknown.
        positives: test labels beside those of its most frequent class; None where unknown.
        score: of the plan, on test rows; NaN where it has none.
        gains: over each baseline.
        metrics: the others, on test rows.
        regions: shares of easy, ambiguous and hard-to-learn samples; none for a regression.
    """

    place: int
    name: str
    group: int
    certainty: float | None
    positives: int | None
    score: float
    gains: list[Difference]
    metrics: list[float]
    regions: list[float] = field(default_factory=list)


def table_of(evidence: Evidence) -> TaskTable:
    """Return the table of a run."""
    summary, groups = evidence.summary, evidence.groups
    subject = _subject(summary.plans)
    others = [] if subject is None else [
        row for row in served_plans(summary.plans).values()
        if row.plan.base in OTHERS and row.plan.copies is None
        and row is not subject and row.plan.beside_scratch == subject.plan.beside_scratch
    ]  # fmt: skip
    names = {task.name: primary_metric(task, evidence.config.metric) for task in summary.index.tasks}
    metrics, values = _other_metrics(evidence, subject, names)
    regions = evidence.regions
    shares = None if regions is None else regions[list(REGIONS)].to_numpy()
    counts, certainty = summary.index.rarer_in_test, groups.certainty or {}
    rows = []
    for t in evidence.order.tolist():
        name = groups.tasks[t]
        row = TaskRow(
            place=t,
            name=name,
            group=groups.serving[name],
            certainty=certainty.get(name),
            positives=None if counts is None else counts[t],
            score=NAN if subject is None else _mean(subject.values[t]),
            gains=[gain_of(subject.trainings, other.trainings, t) for other in others] if subject is not None else [],
            metrics=[values.get((metric, name), NAN) for metric in metrics],
            regions=[] if shares is None or not np.isfinite(shares[t]).all() else shares[t].tolist(),
        )
        rows.append(row)
    score = " or ".join(dict.fromkeys(SHORT.get(metric, metric) for metric in names.values()))
    baselines = [replace(other.plan, beside_scratch=False).title() for other in others]
    return TaskTable("" if subject is None else subject.title, score, baselines, metrics, rows)


def gain_of(one: Trainings, two: Trainings, t: int) -> Difference:
    """Compare two plans on one task, as `Comparison` does on all of them: the task alone is in the table."""

    def of_task(trainings: Trainings) -> Trainings:
        return Trainings(trainings.values[t : t + 1], trainings.networks[t : t + 1], trainings.draws)

    return Comparison({"one": of_task(one), "two": of_task(two)}).difference("one", "two")


def gains_over_one(evidence: Evidence) -> np.ndarray | None:
    """Return (K,) gains of ours over all in one, as means over trainings; None where one of them was not trained."""
    served = served_plans(evidence.summary.plans)
    subject = _subject(evidence.summary.plans)
    if subject is None or subject.plan.base != "ours":
        return None
    one = served.get(subject.plan.beside("all_in_one"))
    return None if one is None else subject.values.mean(axis=1) - one.values.mean(axis=1)


def _subject(plans: list[PlanRow]) -> PlanRow | None:
    """The plan whose tasks are shown: ours, from scratch if it is trained so; the first one where it is not there."""
    served = list(served_plans(plans).values())
    return next((row for row in served if row.plan.base == "ours"), served[0] if served else None)


def _other_metrics(
    evidence: Evidence, subject: PlanRow | None, primary: Mapping[str, str]
) -> tuple[list[str], dict[tuple[str, str], float]]:
    """The names of the metrics beside the primary ones, and their means over trainings by metric and task."""
    if subject is None:
        return [], {}
    table = evidence.results
    own = {name for name, plan in evidence.plans.items() if plan.of_all_draws.name == subject.plan.name}
    table = table[(table["split"] == "test") & table["plan"].isin(own) & (table["serving"] == subject.serving)]
    table = table[table["metric"] != table["task"].map(primary)]
    means = table.groupby(["metric", "task"], sort=False)["value"].mean().reset_index()
    values = zip(means["metric"], means["task"], means["value"].tolist(), strict=True)
    return list(dict.fromkeys(table["metric"])), {(metric, task): value for metric, task, value in values}


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
