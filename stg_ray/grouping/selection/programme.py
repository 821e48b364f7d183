"""Selection among listed groups as a mixed-integer programme, solved by HiGHS: the exact answer, or a bound.

y_g in {0, 1} chooses group g. Without overlap it is a set partition: max sum_g v_g y_g, where the y_g of every task's
groups add up to 1. With overlap it is a facility location problem: x_tg <= y_g serves task t by group g, and
sum_g x_tg = 1.
"""

from __future__ import annotations

import math
from itertools import chain, combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import coo_matrix, csr_matrix, hstack

from stg_ray.tasks.conditions import Conditions

MAX_VARIABLES = 12_000
"""Where groups overlap: beyond this many, solving for all groups takes minutes."""

MOST_MEMBERS = 20 * 2**20
"""Groups that are listed at most, times tasks: all of twenty tasks, or those of up to three of a hundred tasks."""


def all_groups(n_tasks: int, unit: np.ndarray, conditions: Conditions) -> np.ndarray | None:
    """List every group that keeps the conditions.

    Args:
        n_tasks: K.
        unit: (K,) unit of each task.
        conditions: on sizes and pairs.

    Returns:
        (n, K) boolean members; None where there are more groups than can be solved for.
    """
    n_units = int(unit.max()) + 1
    largest = conditions.largest(n_tasks)
    counts = {j: math.comb(n_units, j) for j in range(1, min(largest, n_units) + 1)}
    if conditions.places_tasks:
        if sum(j * count for j, count in counts.items()) > MAX_VARIABLES:
            return None
    elif sum(counts.values()) * n_tasks > MOST_MEMBERS:
        return None
    kept = []
    for j, count in counts.items():
        flat = np.fromiter(chain.from_iterable(combinations(range(n_units), j)), dtype=np.int16, count=j * count)
        by_unit = np.zeros((count, n_units), dtype=bool)
        np.put_along_axis(by_unit, flat.reshape(count, j).astype(np.intp), True, axis=1)
        members = by_unit[:, unit]
        kept.append(members[kept_by(members, conditions)])
    return np.concatenate(kept)


def kept_by(members: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Return (n,) whether groups (n, K) keep the conditions on sizes and pairs."""
    sizes = members.sum(axis=1)
    kept: np.ndarray = (sizes >= conditions.min_size) & (sizes <= conditions.largest(members.shape[1]))
    for a, b in conditions.pairs_apart:
        kept &= ~(members[:, a] & members[:, b])
    return kept


def choose(
    scores: np.ndarray,
    costs: np.ndarray,
    *,
    networks: int | None,
    cost: float | None,
    overlap: bool,
    networks_per_task: int | None = None,
    seconds: float,
) -> tuple[np.ndarray | None, float]:
    """Choose among n groups.

    Args:
        scores: (n, K) of each task in each group, NaN where it is no member.
        costs: (n,) of the groups.
        networks: groups at most.
        cost: total cost at most.
        overlap: whether a task may be in several of the chosen groups.
        networks_per_task: chosen groups that a task is in at most.
        seconds: time limit.

    Returns:
        (m,) positions of the chosen groups and an upper bound of the mean score. None where no choice is known: with
        the bound -inf no choice keeps the conditions, otherwise the time was too short.
    """
    n_groups, n_tasks = scores.shape
    if np.isnan(scores).all(axis=0).any():
        return None, -math.inf  # a task that is in no group at all
    value, constraints = _facility_location(scores) if overlap else _set_partition(scores)
    limits = [(row, limit) for row, limit in ((np.ones(n_groups), networks), (costs, cost)) if limit is not None]
    if limits:
        rows = np.zeros((len(limits), len(value)))
        rows[:, :n_groups] = [row for row, _ in limits]
        upper = [limit * (1 + 1e-12) for _, limit in limits]
        constraints.append(LinearConstraint(csr_matrix(rows), -np.inf, upper))
    if networks_per_task is not None:
        of_task = hstack([csr_matrix((~np.isnan(scores)).T), csr_matrix((n_tasks, len(value) - n_groups))])
        constraints.append(LinearConstraint(of_task.tocsr().astype(np.float64), -np.inf, networks_per_task))
    whole = np.zeros(len(value))
    whole[:n_groups] = 1
    solution = milp(
        -value / n_tasks,
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if solution.status == 2:
        return None, -math.inf
    chosen = None if solution.x is None else np.flatnonzero(solution.x[:n_groups] > 0.5)
    return chosen, dual_bound(solution)


def dual_bound(solution: OptimizeResult) -> float:
    """Return the upper bound of what `milp` maximises, which is the negative of its objective."""
    # HiGHS gives no dual bound where it stops before its first relaxation is solved.
    return math.inf if solution.mip_dual_bound is None else -float(solution.mip_dual_bound)


def _set_partition(scores: np.ndarray) -> tuple[np.ndarray, list[LinearConstraint]]:
    """Return the values of the variables y_g, and the constraint that every task is in one chosen group."""
    members = csr_matrix((~np.isnan(scores)).astype(np.float64).T)
    return np.nansum(scores, axis=1), [LinearConstraint(members, 1, 1)]


def _facility_location(scores: np.ndarray) -> tuple[np.ndarray, list[LinearConstraint]]:
    """Return the values of the variables y_g, then x_tg, and their constraints: every task is served once, by a chosen
    group."""
    n_groups, n_tasks = scores.shape
    group, task = np.nonzero(~np.isnan(scores))
    n_pairs = len(task)
    pair = np.arange(n_pairs)
    ones = np.ones(n_pairs)
    value = np.concatenate([np.zeros(n_groups), scores[group, task]])
    served = coo_matrix((ones, (task, pair)), shape=(n_tasks, n_pairs))
    once = hstack([csr_matrix((n_tasks, n_groups)), served])
    chosen = coo_matrix((-ones, (pair, group)), shape=(n_pairs, n_groups))
    link = hstack([chosen, csr_matrix((ones, (pair, pair)), shape=(n_pairs, n_pairs))])
    return value, [LinearConstraint(once.tocsr(), 1, 1), LinearConstraint(link.tocsr(), -np.inf, 0)]
