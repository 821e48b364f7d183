"""Selection among listed groups as a mixed-integer programme, solved by HiGHS: the exact answer, or a bound.

y_g in {0, 1} chooses group g. Without overlap it is a set partition: max sum_g v_g y_g with sum of the y_g of every
task's groups 1. With overlap it is a facility location problem: x_tg <= y_g serves task t by group g, sum_g x_tg = 1.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix, csr_matrix, hstack, vstack

from stg_ray.grouping.selection.problem import Conditions

MAX_VARIABLES = 12_000
"""Beyond, listing all groups and solving for them takes minutes."""


def all_groups(n_tasks: int, unit: np.ndarray, conditions: Conditions) -> np.ndarray | None:
    """(n, K) every group that keeps the conditions; None where there are more than `MAX_VARIABLES` allow."""
    n_units = int(unit.max()) + 1
    largest = conditions.largest(n_tasks)
    weigh = (lambda j: j) if conditions.overlap else (lambda j: 1)
    if sum(weigh(j) * math.comb(n_units, j) for j in range(1, min(largest, n_units) + 1)) > MAX_VARIABLES:
        return None
    chosen = [c for j in range(1, min(largest, n_units) + 1) for c in combinations(range(n_units), j)]
    by_unit = np.zeros((len(chosen), n_units), dtype=bool)
    for row, units in enumerate(chosen):
        by_unit[row, list(units)] = True
    members = by_unit[:, unit]
    sizes = members.sum(axis=1)
    kept = (sizes >= conditions.min_size) & (sizes <= largest)
    for a, b in conditions.apart:
        kept &= ~(members[:, a] & members[:, b])
    return members[kept]


def choose(
    scores: np.ndarray,
    costs: np.ndarray,
    *,
    networks: int | None,
    cost: float | None,
    overlap: bool,
    seconds: float,
) -> tuple[np.ndarray | None, float]:
    """Choose among n groups.

    Args:
        scores: (n, K) of each task in each group, NaN where it is no member.
        costs: (n,) of the groups.

    Returns:
        (m,) positions of the chosen groups and an upper bound of the mean score. None where nothing was found: with
        the bound -inf nothing keeps the conditions, otherwise the time was too short.
    """
    n_groups, n_tasks = scores.shape
    if np.isnan(scores).all(axis=0).any():
        return None, -math.inf  # a task that is in no group at all
    group, task = np.nonzero(~np.isnan(scores))
    cover = csr_matrix((np.ones(len(task)), (task, group)), shape=(n_tasks, n_groups))
    limits = [(np.ones(n_groups), networks), (costs, cost)]
    rows = [np.asarray(row, dtype=np.float64)[None] for row, limit in limits if limit is not None]
    upper = [limit * (1 + 1e-12) for _, limit in limits if limit is not None]
    if overlap:
        n_pairs = len(task)
        pair = np.arange(n_pairs)
        value = np.concatenate([np.zeros(n_groups), scores[group, task]])
        none = csr_matrix((n_tasks, n_groups))
        equal = hstack([none, coo_matrix((np.ones(n_pairs), (task, pair)), shape=(n_tasks, n_pairs))])
        link = hstack([coo_matrix((-np.ones(n_pairs), (pair, group)), shape=(n_pairs, n_groups)), _identity(n_pairs)])
        constraints = [LinearConstraint(equal.tocsr(), 1, 1), LinearConstraint(link.tocsr(), -np.inf, 0)]
        rows = [np.concatenate([row, np.zeros((1, n_pairs))], axis=1) for row in rows]
    else:
        value = np.nansum(scores, axis=1)
        constraints = [LinearConstraint(cover, 1, 1)]
    if rows:
        constraints.append(LinearConstraint(vstack([csr_matrix(row) for row in rows]), -np.inf, upper))
    whole = np.zeros(len(value))
    whole[:n_groups] = 1
    found = milp(
        -value / n_tasks,
        integrality=whole,
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.status == 2:
        return None, -math.inf
    # HiGHS gives no dual bound where it stops before its first relaxation is solved.
    bound = math.inf if found.mip_dual_bound is None else -float(found.mip_dual_bound)
    chosen = None if found.x is None else np.flatnonzero(found.x[:n_groups] > 0.5)
    return chosen, bound


def _identity(n: int) -> csr_matrix:
    return csr_matrix((np.ones(n), (np.arange(n), np.arange(n))), shape=(n, n))
