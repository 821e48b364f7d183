"""The choice of what to deploy: the plan that validation rows favour, and of those that they do not tell apart the
cheapest to serve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from stg_ray.artifacts.groups import Serving
from stg_ray.config import MetricConfig
from stg_ray.config.plans import plan_of_name
from stg_ray.data.parts import PartIndex
from stg_ray.retraining.jackknife import WithoutFolds, jackknife_error
from stg_ray.training.metrics import DEFAULT, LEAST_R2, primary_metric


@dataclass(frozen=True)
class Candidate:
    """A plan and a way of serving it, by its scores on validation rows.

    Attributes:
        plan: its name in plans/.
        serving: argmax: every task by the network that serves it; ensemble: by all that have it.
        seed: of its training with the best score.
        networks: number of networks to serve.
        cost: samples x epochs x parameters of one training.
        validation: mean of the tasks' primary metrics over its trainings.
        behind: by how much that is less than the best candidate's.
        error: standard error of that difference, the larger of those over tasks and over rows; 0 of the best.
        error_of_tasks: by how much it differs from task to task.
        error_of_rows: by how much other validation rows would change it (the jackknife); None where that is not known.
    """

    plan: str
    serving: Serving
    seed: int
    networks: int
    cost: float
    validation: float
    behind: float
    error: float
    error_of_tasks: float
    error_of_rows: float | None


def choose(
    results: pd.DataFrame,
    costs: pd.DataFrame,
    index: PartIndex,
    failed: set[tuple[str, int]],
    metric: MetricConfig = DEFAULT,
    broken: Mapping[str, str] | None = None,
    without: WithoutFolds | None = None,
) -> dict[str, Any] | None:
    """Choose what to deploy; no test row has a say.

    Candidates are all trained plans, served in each way that they have scores for. The best mean over tasks on
    validation rows sets the mark; of the candidates within one standard error of it (the one-standard-error rule of
    Breiman et al. 1984, section 3.4.3) the one with the fewest networks is chosen, of these the one whose training cost
    least, and of those that cost about the same, by powers of two, the best. The error is that of the paired
    difference: over tasks, or, where that is larger, over rows, as all plans are judged on the same few.

    Args:
        results: the rows of results.parquet.
        costs: the rows of costs.parquet.
        failed: trainings (plan, seed) in which a network is missing; they are left out.
        metric: by which tasks are compared.
        broken: which condition of `grouping.budget` plans break, by their names; they are left out.
        without: scores without each fold of the validation rows; where a plan has none, the error is that over tasks.

    Returns:
        The content of chosen.json; None where no plan was trained, none has a score on validation rows, or none keeps
        the budget.
    """
    broken = broken or {}
    scored = _scored(results, index, "val", metric)
    allowed = scored[~scored["plan"].isin(list(broken))]
    candidates = _candidates(allowed, costs, failed, _Errors(index.names, without or {}))
    if not candidates:
        return None
    near = [each for each in candidates if each.behind <= each.error]
    chosen = _cheapest(near)
    best = min(candidates, key=lambda each: each.behind)
    return {
        "plan": chosen.plan,
        "serving": chosen.serving,
        "seed": chosen.seed,
        "networks": chosen.networks,
        "validation": chosen.validation,
        "test": _score(_scored(results, index, "test", metric), chosen),
        "why": _why(chosen, best, near, candidates) + left_out(broken, scored["plan"]),
        "candidates": [asdict(each) for each in candidates],
    }


def _cheapest(near: Sequence[Candidate]) -> Candidate:
    """The one to deploy of those that cannot be told from the best."""
    fewest = min(each.networks for each in near)
    served = [each for each in near if each.networks == fewest]
    least = min(each.cost for each in served)
    return min(served, key=lambda each: (round(np.log2(each.cost / least)) if least > 0 else 0, each.behind, each.cost))


def left_out(broken: Mapping[str, str], plans: Iterable[str]) -> str:
    """Say which of the plans break a budget, for the end of a sentence; empty where none does."""
    named = [f"{plan_of_name(plan).title()!r} ({broken[plan]})" for plan in dict.fromkeys(plans) if plan in broken]
    return f"; left out, since grouping.budget does not allow them: {', '.join(named)}" if named else ""


@dataclass(frozen=True)
class _Errors:
    """How far other validation rows would change the differences of candidates.

    Attributes:
        tasks: names of all K tasks.
        known: (F, K) scores without each fold of the rows, by plan, way of serving and seed.
    """

    tasks: Sequence[str]
    known: WithoutFolds

    def without_folds(self, key: tuple[str, Serving], trainings: pd.DataFrame) -> np.ndarray | None:
        """Return the (F, T) scores of a candidate without each fold, the means over trainings; None if unknown.

        Args:
            trainings: its scores (S, T), by seed and by task.
        """
        columns = [list(self.tasks).index(task) for task in trainings.columns]
        found = [self.known[*key, seed] for seed in trainings.index if (*key, seed) in self.known]
        if len(found) < len(trainings):
            return None
        values = np.stack(found)[:, :, columns]
        has = np.isfinite(values)
        means: np.ndarray = np.where(has, values, 0.0).sum(axis=0) / np.where(has.any(axis=0), has.sum(axis=0), np.nan)
        return means


def _candidates(
    scored: pd.DataFrame,
    costs: pd.DataFrame,
    failed: set[tuple[str, int]],
    errors: _Errors,
) -> list[Candidate]:
    """The candidates, the best on validation rows first."""
    scored = scored[[key not in failed for key in zip(scored["plan"], scored["seed"], strict=True)]]
    if scored.empty:
        return []
    # (S, T): trainings of every candidate. A task has no score in the folds that lack one of its classes; tasks that
    # one of the candidates has no score for at all count for none.
    table = scored.pivot(index=["plan", "serving", "seed"], columns="task", values="value")
    table = table.loc[:, table.groupby(level=["plan", "serving"]).count().gt(0).all()]
    if table.empty or not len(table.columns):
        return []
    of_plans = {
        cast("tuple[str, Serving]", key): of_plan.droplevel(["plan", "serving"])
        for key, of_plan in table.groupby(level=["plan", "serving"], sort=False)
    }
    means = {key: of_plan.mean(axis=0).to_numpy() for key, of_plan in of_plans.items()}
    without = {key: errors.without_folds(key, of_plan) for key, of_plan in of_plans.items()}
    best = max(means, key=lambda key: float(means[key].mean()))
    training_costs = costs.groupby(["plan", "seed"])["cost"].sum().groupby("plan").mean()
    networks = costs.groupby(["plan", "seed"]).size().groupby("plan").max()
    candidates = []
    for key, values in means.items():
        behind = means[best] - values
        of_tasks = float(behind.std(ddof=1) / np.sqrt(len(behind))) if len(behind) > 1 else 0.0
        of_best, own = without[best], without[key]
        of_rows = None if of_best is None or own is None else jackknife_error(of_best - own)
        candidates.append(
            Candidate(
                *key,
                seed=int(str(of_plans[key].mean(axis=1).idxmax())),
                networks=int(networks[key[0]]),
                cost=float(training_costs[key[0]]),
                validation=float(values.mean()),
                behind=float(behind.mean()),
                error=max(of_tasks, of_rows or 0.0),
                error_of_tasks=of_tasks,
                error_of_rows=of_rows,
            )
        )
    return sorted(candidates, key=lambda each: each.behind)


def _scored(results: pd.DataFrame, index: PartIndex, split: str, metric: MetricConfig) -> pd.DataFrame:
    """The rows of a split with the tasks' primary metrics; R2 is cut as everywhere."""
    primary = {task.name: primary_metric(task, metric) for task in index.tasks}
    rows = results[(results["split"] == split) & (results["metric"] == results["task"].map(primary))].copy()
    rows["value"] = rows["value"].where(rows["metric"] != "r2", rows["value"].clip(lower=LEAST_R2))
    return rows


def _score(scored: pd.DataFrame, chosen: Candidate) -> float | None:
    """The mean over tasks of the chosen training; None where no task has a score."""
    of_chosen = (
        (scored["plan"] == chosen.plan) & (scored["serving"] == chosen.serving) & (scored["seed"] == chosen.seed)
    )
    score = float(scored[of_chosen]["value"].mean())
    return None if np.isnan(score) else score


def _why(chosen: Candidate, best: Candidate, near: Sequence[Candidate], candidates: Sequence[Candidate]) -> str:
    # As the tables have them: draws of random groups are one plan, which is served in each way on a line of its own.
    n_near, n_all = (
        len({(plan_of_name(each.plan).of_all_draws, each.serving) for each in some}) for some in (near, candidates)
    )
    if n_all == 1:
        return "there is no other plan to choose from"
    if n_near == 1:
        return "no other plan comes within one standard error of it on validation rows"
    if chosen == best:
        return f"best on validation rows, and of the {n_near} plans within one standard error the cheapest to serve"
    title = plan_of_name(best.plan).title(is_ensemble=best.serving == "ensemble")
    return (
        f"the cheapest to serve of the {n_near} plans within one standard error of the best on validation rows, "
        f"{title!r}, which is {chosen.behind:.4f} better there"
    )
