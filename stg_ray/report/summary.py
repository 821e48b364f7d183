"""The outcome of a run, from its artifacts: the numbers behind the terminal's table and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.looks import n_looks
from stg_ray.artifacts.outlook import FORECAST
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.plans import TITLES, TrainedPlan, trained_plans
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.report.comparison import Comparison, Difference, Trainings, holm
from stg_ray.report.limits import Limit, limits_of
from stg_ray.report.tuning import Tuning
from stg_ray.report.words import OTHERS, deploy_sentence, verdict_sentences
from stg_ray.training.metrics import LEAST_R2, primary_metric

SHORT = {"average_precision": "AP", "r2": "R2", "roc_auc": "AUC"}
"""Metrics in the tables, where they have a short name."""


@dataclass(frozen=True)
class PlanRow:
    """One line of the comparison: a plan and a way of serving it.

    Attributes:
        plan: of all draws together, where it is one of random groups.
        serving: argmax: every task by the network that serves it; ensemble: by all that have it, by membership.
        trainings: primary metric of every task in every training (seed, and draw of random groups) on test rows; NaN
            for a task that another plan has no value for, so that all means are over the same tasks.
        difference: to all-in-one, where that was trained and is not this plan.
        networks: number of networks of one training.
        cost: samples x epochs x parameters of one training, relative to all-in-one; NaN where that was not trained.
        seconds: training seconds of one training, summed over its networks.
    """

    plan: TrainedPlan
    serving: Serving
    trainings: Trainings
    difference: Difference | None
    networks: int
    cost: float
    seconds: float

    @property
    def values(self) -> np.ndarray:
        """(T, S) metric of every task in every training."""
        return self.trainings.values

    @property
    def title(self) -> str:
        """The line's title in the tables; it names the start where the plan is trained from both."""
        return self.plan.title(is_ensemble=self.serving == "ensemble")

    @property
    def mean(self) -> float:
        """Mean of the metric over tasks and trainings; NaN where no task has one."""
        return float(np.nanmean(self.values)) if np.isfinite(self.values).any() else float("nan")


@dataclass(frozen=True)
class Summary:
    """The outcome of a run.

    Attributes:
        index: of the task set's parts.
        groups: our groups.
        metric: name of the mean over tasks of the primary metric: by default average precision (AP), R2 for regression.
        plans: the lines of the comparison.
        against: ours minus each of `OTHERS` that was trained, by the other's name: more networks, and more training,
            may help by themselves. Plans from the profile beside those from scratch are compared among themselves. All
            make one verdict: their p-values are Holm's.
        failures: networks that could not be trained (plan, group, seed, tasks, reason); their trainings are left out.
        limits: what keeps the groups or the comparison from being trusted, each with what to do about it.
        deploy: what to deploy and why (chosen.json), as a sentence; empty where that was not chosen.
        looks: how many groupings and settings were scored on the same test rows, this one included.
        search: what a search measured, and the groups that it found (search.json); None where there was none.
        tuning: what tuning compared and found; None where nothing was tuned.
        forecast: what was expected of grouping before all plans were trained (forecast.json); None if it was not told.
    """

    index: PartIndex
    groups: Groups
    metric: str
    plans: list[PlanRow]
    against: dict[str, Difference]
    failures: list[dict[str, Any]]
    limits: list[Limit]
    deploy: str = ""
    looks: int = 1
    search: dict[str, Any] | None = None
    tuning: Tuning | None = None
    forecast: dict[str, Any] | None = None

    @property
    def verdict(self) -> str:
        """A few sentences: what to deploy, did grouping help, and did it matter which tasks are together?"""
        return f"{self.deploy} {self._comparison}".strip()

    @property
    def is_stopped(self) -> bool:
        """Whether the plans of groups ended with the forecast."""
        has_ours = any(row.plan.base == "ours" for row in self.plans)
        return self.forecast is not None and self.forecast["outlook"] == "none" and not has_ours

    @property
    def is_one_group(self) -> bool:
        """Whether the plans are those of a single group: no others were found, or they ended with the forecast."""
        return len(self.groups.groups) == 1 or self.is_stopped

    @property
    def _comparison(self) -> str:
        """The part of the verdict that compares plans on test rows."""
        if len(self.groups.groups) == 1:
            return f"All tasks are one group: {self.groups.why_one}."
        if not self.against:
            groups = f"{len(self.index.tasks)} tasks in {len(self.groups.groups)} groups"
            if self.is_stopped:
                return f"{groups}, whose networks were not trained to the end: grouping was not expected to help."
            return f"{groups}; no comparison was trained."
        plans = {row.plan.name: row.plan for row in self.plans}
        compared = [(plans[name], difference) for name, difference in self.against.items()]
        sentences = []
        for beside_scratch, where in ((False, ""), (True, "where all networks start from the profile")):
            alike = [pair for pair in compared if pair[0].beside_scratch == beside_scratch]
            sentences += verdict_sentences(alike, where, n_compared=len(compared))
        return " ".join(sentences)


def summarize(run: RunDir, config: Config) -> Summary:
    """Read a run's groups, results and failures, and compare its plans."""
    index = read_index(run.sub("parts"))
    groups = Groups.from_dict(run.read_json("groups.json"))
    # Regressions come last.
    metrics = [config.metric.of(kind) for kind in sorted({task.kind for task in index.tasks})]
    metric = "mean " + " or ".join(dict.fromkeys(SHORT.get(name, name) for name in metrics))
    failures = run.read_json("failures.json")
    rows = _plan_rows(run, config, index, {(failure["plan"], failure["seed"]) for failure in failures})
    against = _against(rows)
    limits = limits_of(run, config, index, groups, against)
    search = run.read_json("search.json") if run.exists("search.json") else None
    told = run.read_json(FORECAST) if run.exists(FORECAST) else None
    tuning = Tuning.of(run, config)
    summary = Summary(index, groups, metric, rows, against, failures, limits, "", n_looks(run), search, tuning, told)
    return replace(summary, deploy=_deploy(run, config, summary))


def _deploy(run: RunDir, config: Config, summary: Summary) -> str:
    """Say what to deploy; empty where that was not chosen, as in runs of version 0.1."""
    if not run.exists("chosen.json"):
        return ""
    chosen = run.read_json("chosen.json")
    n_groups = 1 if summary.is_one_group else len(summary.groups.groups)
    return deploy_sentence(chosen, trained_plans(config.retrain)[chosen["plan"]], n_groups)


def _against(rows: list[PlanRow]) -> dict[str, Difference]:
    """Ours minus each of `OTHERS`, by the other's name, among the plans that start alike."""
    served = served_plans(rows)
    comparison = Comparison({name: row.trainings for name, row in served.items()}) if served else None
    by_base = {
        (row.plan.beside_scratch, row.plan.base): name for name, row in served.items() if row.plan.copies is None
    }
    return holm(
        {
            by_base[start, other]: comparison.difference(by_base[start, "ours"], by_base[start, other])
            for start in (False, True)
            for other in OTHERS
            if comparison and (start, "ours") in by_base and (start, other) in by_base
        }
    )


def served_plans(rows: list[PlanRow]) -> dict[str, PlanRow]:
    """Return the line by which each plan is compared, by its name: served task by task if it has such results."""
    return {row.plan.name: row for serving in ("ensemble", "argmax") for row in rows if row.serving == serving}


def _plan_rows(run: RunDir, config: Config, index: PartIndex, failed: set[tuple[str, int]]) -> list[PlanRow]:
    """The lines of the comparison, without the trainings (plan, seed) in which a network is missing."""
    results, costs = _tables(run, config, failed)
    primary = {task.name: primary_metric(task, config.metric) for task in index.tasks}
    results = results[(results["split"] == "test") & (results["metric"] == results["task"].map(primary))]
    plans = {plan.of_all_draws.name: plan.of_all_draws for plan in trained_plans(config.retrain).values()}
    titles = list(TITLES)

    def place(row: tuple[str, Serving]) -> tuple[int, bool, float, Serving]:
        plan = plans[row[0]]
        return titles.index(plan.base), plan.beside_scratch, plan.copies or math.inf, row[1]

    lines = results[["row", "serving"]].drop_duplicates().itertuples(index=False, name=None)
    present: list[tuple[str, Serving]] = sorted(lines, key=place)
    floored = np.array([primary[task.name] == "r2" for task in index.tasks])
    trainings = _of_the_same_tasks([_trainings(results, *row, index.names, floored) for row in present])
    base_cost = _per_training(costs, "all_in_one", "cost") if ("all_in_one", "argmax") in present else float("nan")
    rows = [
        PlanRow(
            plans[name],
            serving,
            of_row,
            None,
            networks=_networks(costs, name),
            cost=_per_training(costs, name, "cost") / base_cost,
            seconds=_per_training(costs, name, "seconds"),
        )
        for (name, serving), of_row in zip(present, trainings, strict=True)
    ]
    return [replace(row, difference=_to_all_in_one(row, rows)) for row in rows]


def _to_all_in_one(row: PlanRow, rows: list[PlanRow]) -> Difference | None:
    """The difference of a line to all-in-one, where that was trained and is another plan."""
    of_plans = {name: served.trainings for name, served in served_plans(rows).items()}
    if "all_in_one" not in of_plans or row.plan.name == "all_in_one":
        return None
    return Comparison(of_plans | {row.plan.name: row.trainings}).difference(row.plan.name, "all_in_one")


def _tables(run: RunDir, config: Config, failed: set[tuple[str, int]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Results and costs of the complete trainings; `row` names the plan, in one way for all draws of random groups."""
    rows: Mapping[str, str] = {name: plan.of_all_draws.name for name, plan in trained_plans(config.retrain).items()}
    tables = []
    for name in ("results.parquet", "costs.parquet"):
        table = run.read_parquet(name).to_pandas()
        # A mean over the tasks that happen to be there could not be compared.
        complete = [key not in failed for key in zip(table["plan"], table["seed"], strict=True)]
        table = table[np.array(complete, dtype=bool)].copy()  # a list would select no columns where it is empty
        table["row"] = table["plan"].map(rows)
        tables.append(table)
    return tables[0], tables[1]


def _trainings(results: pd.DataFrame, row: str, serving: str, names: list[str], floored: np.ndarray) -> Trainings:
    """The trainings of a line. R2 is cut as where epochs are chosen."""
    of_row = results[(results["row"] == row) & (results["serving"] == serving)]
    table = of_row.pivot(index="task", columns=["plan", "seed"], values=["value", "group"]).reindex(names)
    values = table["value"].to_numpy(dtype=np.float64)
    values = np.where(floored[:, None], np.maximum(values, LEAST_R2), values)
    networks = table["group"].fillna(-1).to_numpy(dtype=np.int64)
    _, draws = np.unique(table["value"].columns.get_level_values("plan"), return_inverse=True)
    return Trainings(values, networks if serving == "argmax" else np.zeros_like(networks), draws)


def _of_the_same_tasks(trainings: list[Trainings]) -> list[Trainings]:
    """The trainings with NaN for each task that one of them has no value for."""
    if not trainings:
        return []
    common = np.logical_and.reduce([np.isfinite(each.values).all(axis=1) for each in trainings])
    return [replace(each, values=np.where(common[:, None], each.values, np.nan)) for each in trainings]


def _networks(costs: pd.DataFrame, row: str) -> int:
    """Number of a plan's networks in one training."""
    of_row = costs[costs["row"] == row]
    return len(of_row) // max(1, len(of_row[["plan", "seed"]].drop_duplicates()))


def _per_training(costs: pd.DataFrame, row: str, column: str) -> float:
    """Sum over a plan's networks, as a mean over its trainings (seeds and draws)."""
    of_row = costs[costs["row"] == row]
    return float(of_row.groupby(["plan", "seed"])[column].sum().mean())
