"""What a run found, from its artifacts: the numbers behind the terminal's table and the page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.sections import PROFILED
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.report.comparison import Difference, paired_difference, training_noise
from stg_ray.training.metrics import primary_metric

TITLES = {
    "ours": "ours",
    "ours_soft": "ours, soft",
    "all_in_one": "all in one",
    "all_in_one_equal_cost": "one, equal cost",
    "all_in_one_ensemble": "all in one",
    "random": "random groups",
    "single_task": "single task",
    "known": "known groups",
}
OTHERS = {
    "all_in_one": "all tasks in one network",
    "all_in_one_equal_cost": "one network trained for as many epochs as ours together",
    "all_in_one_ensemble": "as many networks of all tasks, which predict together",
    "random": "random groups of the same sizes",
}
"""What our groups are compared to in words."""


@dataclass(frozen=True)
class PlanRow:
    """One line of the comparison. Draws of random groups are one plan here.

    Attributes:
        serving: argmax: every task by the network that serves it; ensemble: by all that have it, by membership.
        values: (T, S) primary metric of every task in every training (seed, and draw of random groups) on test rows.
        difference: to all-in-one, where that was trained and is not this plan.
        networks: number of networks of one training.
        cost: samples x epochs x parameters of one training, relative to all-in-one; NaN where that was not trained.
        seconds: training seconds of one training, summed over its networks.
    """

    plan: str
    serving: Serving
    values: np.ndarray
    difference: Difference | None
    networks: int
    cost: float
    seconds: float

    @property
    def title(self) -> str:
        name, profiled = base_of(self.plan)
        ensemble = " ensemble" if self.serving == "ensemble" else ""
        return TITLES[name] + ensemble + (", from profile" if profiled else "")

    @property
    def mean(self) -> float:
        return float(np.nanmean(self.values)) if np.isfinite(self.values).any() else float("nan")


@dataclass(frozen=True)
class Summary:
    """`metric` names the mean over tasks of the primary metric: average precision (AP), R2 for regression."""

    index: PartIndex
    groups: Groups
    metric: str
    plans: list[PlanRow]
    against: dict[str, Difference]
    """Ours to each of `OTHERS` that was trained, by its name: more networks, and more training, may help alone. Plans
    that are trained from the profile beside from scratch are compared among themselves."""
    failures: list[dict[str, Any]]
    """Networks that could not be trained: plan, group, seed, tasks, reason. Their trainings are left out."""

    @property
    def verdict(self) -> str:
        """Did grouping help, and did it matter which tasks are together?"""
        if len(self.groups.groups) == 1:
            return f"One network for all tasks: {self.groups.why_one}."
        if not self.against:
            return f"{len(self.index.tasks)} tasks in {len(self.groups.groups)} groups; no comparison was trained."
        starts = {profiled: _compared(self.against, profiled) for profiled in (False, True)}
        subjects = {False: "Our groups", True: "All from the profile, our groups"}
        return " ".join(
            f"{subjects[profiled]} are {'; '.join(outcomes)}." for profiled, outcomes in starts.items() if outcomes
        )


def summarize(run: RunDir, config: Config) -> Summary:
    """Read a run's groups and results."""
    index = read_index(run.sub("parts"))
    groups = Groups.from_dict(run.read_json("groups.json"))
    kinds = {task.kind for task in index.tasks}
    metric = "mean R2" if kinds == {"regression"} else "mean AP"
    if "regression" in kinds and len(kinds) > 1:
        metric = "mean AP or R2"
    failures = run.read_json("failures.json")
    rows = _plan_rows(run, config, index, {(failure["plan"], failure["seed"]) for failure in failures})
    # A plan is compared as its tasks are served one by one, where it has such results.
    values = {row.plan: row.values for serving in ("ensemble", "argmax") for row in rows if row.serving == serving}
    noise = training_noise([row.values for row in rows])
    against = {
        other + start: paired_difference(values["ours" + start], values[other + start], noise=noise, seed=config.seed)
        for start in ("", PROFILED)
        for other in OTHERS
        if {"ours" + start, other + start} <= set(values)
    }
    return Summary(index, groups, metric, rows, against, failures)


def base_of(plan: str) -> tuple[str, bool]:
    """The plan's name without its ending, and whether it is trained from the profiled network beside from scratch."""
    return plan.removesuffix(PROFILED), plan.endswith(PROFILED)


def _compared(against: dict[str, Difference], profiled: bool) -> list[str]:
    """What our groups are better and worse than, and not clearly different from, among the plans that start so."""
    outcomes: dict[str, list[str]] = {"better than": [], "worse than": [], "not clearly different from": []}
    for plan, d in against.items():
        name, starts_profiled = base_of(plan)
        if starts_profiled == profiled:
            outcome = ("better than" if d.mean > 0 else "worse than") if d.is_clear else "not clearly different from"
            interval = f"{d.mean:+.4f}, 95 % interval {d.low:+.4f} to {d.high:+.4f}"
            outcomes[outcome].append(f"{OTHERS[name]} ({interval})")
    return [f"{outcome} {' and '.join(others)}" for outcome, others in outcomes.items() if others]


def _plan_rows(run: RunDir, config: Config, index: PartIndex, failed: set[tuple[str, int]]) -> list[PlanRow]:
    results = run.read_parquet("results.parquet").to_pandas()
    costs = run.read_parquet("costs.parquet").to_pandas()
    # A mean over the tasks that happen to be there could not be compared.
    results, costs = (
        table[[key not in failed for key in zip(table["plan"], table["seed"], strict=True)]].copy()
        for table in (results, costs)
    )
    primary = {task.name: primary_metric(task) for task in index.tasks}
    results = results[(results["split"] == "test") & (results["metric"] == results["task"].map(primary))]
    results["plan_kind"] = results["plan"].map(_plan_of)
    costs["plan_kind"] = costs["plan"].map(_plan_of)
    present = sorted(
        results[["plan_kind", "serving"]].drop_duplicates().itertuples(index=False, name=None),
        key=lambda row: (list(TITLES).index(base_of(row[0])[0]), base_of(row[0])[1], row[1]),
    )
    values = {(plan, serving): _values(results, plan, serving, index.names) for plan, serving in present}
    base = values.get(("all_in_one", "argmax"))
    base_cost = _per_training(costs, "all_in_one", "cost") if base is not None else float("nan")
    difference = partial(paired_difference, noise=training_noise(list(values.values())), seed=config.seed)
    rows = []
    for plan, serving in present:
        own = costs[costs["plan_kind"] == plan]
        compared = base if plan != "all_in_one" else None
        rows.append(
            PlanRow(
                plan,
                serving,
                values[plan, serving],
                None if compared is None else difference(values[plan, serving], compared),
                networks=len(own) // max(1, len(own[["plan", "seed"]].drop_duplicates())),
                cost=_per_training(costs, plan, "cost") / base_cost,
                seconds=_per_training(costs, plan, "seconds"),
            )
        )
    return rows


def _plan_of(name: str) -> str:
    """random_0, random_1, ... are draws of one plan."""
    return re.sub(r"^random_\d+", "random", name)


def _values(results: pd.DataFrame, plan: str, serving: str, names: list[str]) -> np.ndarray:
    own = results[(results["plan_kind"] == plan) & (results["serving"] == serving)]
    table = own.pivot(index="task", columns=["plan", "seed"], values="value")
    return table.reindex(names).to_numpy(dtype=np.float64)


def _per_training(costs: pd.DataFrame, plan: str, column: str) -> float:
    """Sum over a plan's networks, as a mean over its trainings (seeds and draws)."""
    own = costs[costs["plan_kind"] == plan]
    return float(own.groupby(["plan", "seed"])[column].sum().mean())
