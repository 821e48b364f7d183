"""Selection under a budget, by the exact programme where all groups can be listed, else by search with a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stg_ray.errors import InputError
from stg_ray.grouping.selection.bounds import upper_bound
from stg_ray.grouping.selection.problem import Conditions, Selection, centred, serve, task_scores
from stg_ray.grouping.selection.programme import all_groups, choose
from stg_ray.grouping.selection.search import add_helpers, search_partition


def select(
    affinity: np.ndarray, conditions: Conditions, *, centre: bool = True, seconds: float = 8.0, seed: int = 0
) -> Selection:
    """Groups that maximise the tasks' mean score.

    Args:
        affinity: (K, K); row a says how much task a gains from each other task.
        centre: subtract the mean off-diagonal affinity; False where 0 already means as good as alone.
        seconds: time after which an unfinished proof is given up.

    Raises:
        InputError: the conditions contradict each other, or nothing was found that keeps them.
    """
    n_tasks = len(affinity)
    affinity = centred(affinity) if centre else np.where(np.eye(n_tasks, dtype=bool), 0, affinity)
    unit = conditions.units(n_tasks)
    members = all_groups(n_tasks, unit, conditions)
    if members is None:
        bound = upper_bound(affinity, unit, conditions, seconds=seconds / 4)
        return _search(affinity, unit, conditions, bound, seed)
    scores = task_scores(affinity, members)
    costs = np.asarray(conditions.cost_of(members.sum(axis=1)))
    limits = {"networks": conditions.networks, "cost": conditions.cost, "overlap": conditions.overlap}
    chosen, bound = choose(scores, costs, **limits, seconds=seconds)  # type: ignore[arg-type]
    if bound == -math.inf:
        raise InputError("no choice of groups keeps all conditions on cost, sizes and pairs: loosen one")
    if chosen is None:
        return _search(affinity, unit, conditions, bound, seed)
    return serve(members[chosen], scores[chosen], bound, "all groups")


def select_measured(
    losses: np.ndarray,
    costs: Sequence[float] | np.ndarray | None = None,
    *,
    networks: int | None = None,
    cost: float | None = None,
    overlap: bool = True,
    seconds: float = 60.0,
) -> Selection:
    """Groups with the least mean loss, among n groups that were trained and measured.

    Args:
        losses: (n, K) loss of every task in each group; NaN where the task is no member.
        costs: (n,) of the groups; 1 each if not given.
        networks, cost: groups, and their total cost, at most.
        overlap: whether a task may be in several groups; the one with the least loss serves it.

    Returns:
        A selection whose scores are minus the losses.

    Raises:
        InputError: a loss is infinite, or no choice serves every task within the budget.
    """
    losses = np.asarray(losses, dtype=np.float64)
    if np.isinf(losses).any():
        raise InputError("a measured loss is infinite: leave that group out, or the task out of it (NaN)")
    costs = np.ones(len(losses)) if costs is None else np.asarray(costs, dtype=np.float64)
    chosen, bound = choose(-losses, costs, networks=networks, cost=cost, overlap=overlap, seconds=seconds)
    if chosen is None:
        raise InputError("no choice of these groups serves every task within the budget: raise it, or measure more")
    return serve(~np.isnan(losses[chosen]), -losses[chosen], bound, "all groups")


def _search(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, bound: float, seed: int) -> Selection:
    """The best of several local searches, from random starts of the numbers of groups that can be afforded."""
    rng = np.random.default_rng([seed, 7])
    n_tasks, n_units = len(affinity), int(unit.max()) + 1
    most = min(n_units, conditions.most_networks(n_tasks))
    best: tuple[float, np.ndarray] | None = None
    for _ in range(_n_starts(n_tasks)):
        start = rng.permutation(np.arange(n_units) % most)
        members = search_partition(affinity, unit, conditions, start, most)
        members = members[members.any(axis=1)]
        if _is_broken(members, conditions):
            continue
        if conditions.overlap:
            members = add_helpers(affinity, unit, conditions, members)
        score = float(np.nanmax(task_scores(affinity, members), axis=0).mean())
        if best is None or score > best[0]:
            best = (score, members)
    if best is None:
        raise InputError("no search found groups that keep all conditions on cost, sizes and pairs: loosen one")
    return serve(best[1], task_scores(affinity, best[1]), bound, "search")


def _n_starts(n_tasks: int) -> int:
    """Searches for so many tasks: a number and not a time, so that a busy machine finds the same groups."""
    return max(3, min(20, 200_000 // n_tasks**2))


def _is_broken(members: np.ndarray, conditions: Conditions) -> bool:
    sizes = members.sum(axis=1)
    clash = any((members[:, a] & members[:, b]).any() for a, b in conditions.apart)
    out_of_bounds = sizes.min() < conditions.min_size or sizes.max() > conditions.largest(members.shape[1])
    too_dear = conditions.cost is not None and np.sum(conditions.cost_of(sizes)) > conditions.cost * (1 + 1e-12)
    return bool(clash or out_of_bounds or too_dear)
