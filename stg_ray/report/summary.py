"""The outcome of a run, from its artifacts: the numbers behind the terminal's table and the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config, PlanName
from stg_ray.config.plans import TrainedPlan, trained_plans
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.report.comparison import Difference, paired_difference, training_noise
from stg_ray.training.metrics import primary_metric

TITLES: dict[PlanName, str] = {
    "ours": "ours",
    "ours_soft": "ours, soft",
    "all_in_one": "all in one",
    "all_in_one_equal_cost": "one, equal cost",
    "all_in_one_ensemble": "all in one",
    "random": "random groups",
    "single_task": "single task",
    "known": "known groups",
}
"""Plans in the tables, in their order there."""

SHORT = {"average_precision": "AP", "r2": "R2", "roc_auc": "AUC"}
"""Metrics in the tables, where they have a short name."""

OTHERS: dict[PlanName, str] = {
    "all_in_one": "all tasks in one network",
    "all_in_one_equal_cost": "one network trained for as many epochs as ours together",
    "all_in_one_ensemble": "as many networks of all tasks, which predict together",
    "random": "random groups of the same sizes",
}
"""The plans that ours is compared to in the verdict, in words."""


@dataclass(frozen=True)
class PlanRow:
    """One line of the comparison: a plan and a way of serving it.

    Attributes:
        plan: of all draws together, where it is one of random groups.
        serving: argmax: every task by the network that serves it; ensemble: by all that have it, by membership.
        values: (T, S) primary metric of every task in every training (seed, and draw of random groups) on test rows.
        difference: to all-in-one, where that was trained and is not this plan.
        networks: number of networks of one training.
        cost: samples x epochs x parameters of one training, relative to all-in-one; NaN where that was not trained.
        seconds: training seconds of one training, summed over its networks.
    """

    plan: TrainedPlan
    serving: Serving
    values: np.ndarray
    difference: Difference | None
    networks: int
    cost: float
    seconds: float

    @property
    def title(self) -> str:
        """The line's title in the tables; it names the start where the plan is trained from both."""
        ensemble = " ensemble" if self.serving == "ensemble" else ""
        return TITLES[self.plan.base] + ensemble + (", from profile" if self.plan.beside_scratch else "")

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
            may help by themselves. Plans from the profile beside those from scratch are compared among themselves.
        failures: networks that could not be trained (plan, group, seed, tasks, reason); their trainings are left out.
    """

    index: PartIndex
    groups: Groups
    metric: str
    plans: list[PlanRow]
    against: dict[str, Difference]
    failures: list[dict[str, Any]]

    @property
    def verdict(self) -> str:
        """A sentence or two: did grouping help, and did it matter which tasks are together?"""
        if len(self.groups.groups) == 1:
            return f"One network for all tasks: {self.groups.why_one}."
        if not self.against:
            return f"{len(self.index.tasks)} tasks in {len(self.groups.groups)} groups; no comparison was trained."
        plans = {row.plan.name: row.plan for row in self.plans}
        compared = [(plans[name], difference) for name, difference in self.against.items()]
        sentences = []
        for beside_scratch, subject in ((False, "Our groups"), (True, "All from the profile, our groups")):
            outcomes = _outcomes([pair for pair in compared if pair[0].beside_scratch == beside_scratch])
            if outcomes:
                sentences.append(f"{subject} are {'; '.join(outcomes)}.")
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
    return Summary(index, groups, metric, rows, _against(rows, config.seed), failures)


def _against(rows: list[PlanRow], seed: int) -> dict[str, Difference]:
    """Ours minus each of `OTHERS`, by the other's name, among the plans that start alike."""
    # A plan is compared as its tasks are served one by one, where it has such results.
    served = {row.plan.name: row for serving in ("ensemble", "argmax") for row in rows if row.serving == serving}
    by_base = {(row.plan.beside_scratch, row.plan.base): row for row in served.values()}
    noise = training_noise([row.values for row in rows])
    return {
        by_base[start, other].plan.name: paired_difference(
            by_base[start, "ours"].values, by_base[start, other].values, noise=noise, seed=seed
        )
        for start in (False, True)
        for other in OTHERS
        if (start, "ours") in by_base and (start, other) in by_base
    }


def _outcomes(compared: list[tuple[TrainedPlan, Difference]]) -> list[str]:
    """The plans that ours are better and worse than, and not clearly different from, in words."""
    outcomes: dict[str, list[str]] = {"better than": [], "worse than": [], "not clearly different from": []}
    for plan, d in compared:
        outcome = ("better than" if d.mean > 0 else "worse than") if d.is_clear else "not clearly different from"
        interval = f"{d.mean:+.4f}, 95 % interval {d.low:+.4f} to {d.high:+.4f}"
        outcomes[outcome].append(f"{OTHERS[plan.base]} ({interval})")
    return [f"{outcome} {' and '.join(others)}" for outcome, others in outcomes.items() if others]


def _plan_rows(run: RunDir, config: Config, index: PartIndex, failed: set[tuple[str, int]]) -> list[PlanRow]:
    """The lines of the comparison, without the trainings (plan, seed) in which a network is missing."""
    results, costs = _tables(run, config, failed)
    primary = {task.name: primary_metric(task, config.metric) for task in index.tasks}
    results = results[(results["split"] == "test") & (results["metric"] == results["task"].map(primary))]
    plans = {plan.of_all_draws.name: plan.of_all_draws for plan in trained_plans(config.retrain).values()}
    titles = list(TITLES)
    present: list[tuple[str, Serving]] = sorted(
        results[["row", "serving"]].drop_duplicates().itertuples(index=False, name=None),
        key=lambda row: (titles.index(plans[row[0]].base), plans[row[0]].beside_scratch, row[1]),
    )
    values = {(name, serving): _values(results, name, serving, index.names) for name, serving in present}
    base = values.get(("all_in_one", "argmax"))
    base_cost = _per_training(costs, "all_in_one", "cost") if base is not None else float("nan")
    difference = partial(paired_difference, noise=training_noise(list(values.values())), seed=config.seed)
    return [
        PlanRow(
            plans[name],
            serving,
            values[name, serving],
            None if base is None or name == "all_in_one" else difference(values[name, serving], base),
            networks=_networks(costs, name),
            cost=_per_training(costs, name, "cost") / base_cost,
            seconds=_per_training(costs, name, "seconds"),
        )
        for name, serving in present
    ]


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


def _values(results: pd.DataFrame, row: str, serving: str, names: list[str]) -> np.ndarray:
    """(T, S) values of a line: of each task in each training."""
    of_row = results[(results["row"] == row) & (results["serving"] == serving)]
    table = of_row.pivot(index="task", columns=["plan", "seed"], values="value")
    return table.reindex(names).to_numpy(dtype=np.float64)


def _networks(costs: pd.DataFrame, row: str) -> int:
    """Number of a plan's networks in one training."""
    of_row = costs[costs["row"] == row]
    return len(of_row) // max(1, len(of_row[["plan", "seed"]].drop_duplicates()))


def _per_training(costs: pd.DataFrame, row: str, column: str) -> float:
    """Sum over a plan's networks, as a mean over its trainings (seeds and draws)."""
    of_row = costs[costs["row"] == row]
    return float(of_row.groupby(["plan", "seed"])[column].sum().mean())
