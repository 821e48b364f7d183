"""The best sets of groups among up to a million, exactly: a linear programme by columns, then the few that are left.

max sum_g v_g y_g over y_g in {0, 1}, with every task in one chosen group (or, with overlap, in one at least), so many
groups and costs at most: the programme that Principled Task Grouping (Wang et al., arXiv 2402.15328) states with one
variable for each task and group, and a product with 1 / |g|. With one variable for each possible group it is linear.

Its relaxation is solved over a few groups, to which those with the largest reduced costs are added until there is none
above 0 (Gilmore and Gomory 1961). Then U + r_g bounds all choices with group g, U the relaxation's value and r_g <= 0
the reduced cost: groups with U + r_g below a choice that is known cannot be in a better one. HiGHS chooses among the
others.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_matrix, hstack, identity, vstack

from stg_ray.grouping.selection.programme import dual_bound
from stg_ray.tasks.conditions import Conditions

ADDED = 400
"""Groups that are added to the relaxation at a time."""

MOST_LEFT = 20_000
"""Groups among which a choice is made. Of those that are left out the best bounds all of them."""

TOLERANCE = 1e-9
"""Of reduced costs, in units of the largest value."""


@dataclass(frozen=True)
class Limits:
    """The constraints on chosen groups as rows: lower <= A y <= upper.

    Attributes:
        rows: (m, n) of the n groups.
        lower, upper: (m,).
    """

    rows: csc_matrix
    lower: np.ndarray
    upper: np.ndarray

    @classmethod
    def of(cls, members: np.ndarray, conditions: Conditions) -> Limits:
        """Return those of groups (n, K), boolean."""
        n_groups, n_tasks = members.shape
        most = 1.0 if not conditions.overlap else conditions.networks_per_task or np.inf
        rows = [csc_matrix(members.T, dtype=np.float64), csc_matrix(np.ones((1, n_groups)))]
        lower, upper = [1.0] * n_tasks + [0.0], [most] * n_tasks + [float(conditions.most_networks(n_tasks))]
        if conditions.cost is not None:
            rows.append(csc_matrix(conditions.cost_of(members.sum(axis=1))[None]))
            lower, upper = [*lower, -np.inf], [*upper, conditions.cost * (1 + 1e-12)]
        return cls(vstack(rows, format="csc"), np.array(lower), np.array(upper))


def best_choice(
    values: np.ndarray, members: np.ndarray, conditions: Conditions, known: np.ndarray, *, seconds: float
) -> tuple[np.ndarray | None, float]:
    """Choose among n groups.

    Args:
        values: (n,) of the groups.
        members: (n, K) boolean members.
        conditions: those on the chosen groups together are kept; those on single ones the groups keep already.
        known: positions of the groups of a choice that keeps the conditions; none if there is none.
        seconds: time limit of the last step, which may end with a bound.

    Returns:
        (m,) positions of the chosen groups, and an upper bound of the sum of the values of any choice. None where no
        choice is known: with the bound -inf none keeps the conditions, otherwise the time was too short.
    """
    limits = Limits.of(members, conditions)
    relaxed = _relaxation(values, limits, known)
    if relaxed is None:
        return None, -math.inf
    bound, reduced, columns = relaxed
    began = time.monotonic()
    lowest = float(values[known].sum()) if len(known) else -math.inf
    found, _ = _chosen(values, limits, columns, seconds / 2)
    if found is not None and values[found].sum() > lowest:
        known, lowest = found, float(values[found].sum())
    accuracy = TOLERANCE * max(1.0, float(np.abs(values).max()))
    if bound - lowest <= accuracy:
        return known, max(bound, lowest)
    left = np.flatnonzero(reduced >= lowest - bound - accuracy)
    of_others = -math.inf
    if len(left) > MOST_LEFT:
        order = left[np.argsort(-reduced[left], kind="stable")]
        left, of_others = np.sort(order[:MOST_LEFT]), bound + float(reduced[order[MOST_LEFT]])
    found, of_left = _chosen(values, limits, left, seconds - (time.monotonic() - began))
    if found is not None and values[found].sum() > lowest:
        known, lowest = found, float(values[found].sum())
    best = max(lowest, of_others, min(bound, of_left))
    if lowest == -math.inf:
        return None, best
    return known, best


def _relaxation(values: np.ndarray, limits: Limits, known: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Solve the relaxation; None where it has no solution.

    Returns:
        Its value, the reduced costs (n,) of all groups, and the positions of those that it took.
    """
    n_groups = len(values)
    columns = np.unique(np.concatenate([known, np.argsort(-values, kind="stable")[:ADDED]])).astype(np.intp)
    for of_phase in (np.zeros(n_groups), values):
        is_first = of_phase is not values
        while True:
            objective, reduced = _solved(of_phase, limits, columns, with_slack=is_first)
            outside = np.ones(n_groups, dtype=bool)
            outside[columns] = False
            better = np.flatnonzero(outside & (reduced > TOLERANCE * max(1.0, float(np.abs(of_phase).max()))))
            if not len(better) or (is_first and objective >= -TOLERANCE):
                break
            order = better[np.argsort(-reduced[better], kind="stable")]
            columns = np.union1d(columns, order[:ADDED])
        if is_first and objective < -1e-6:
            return None
    return objective, reduced, columns


def _solved(values: np.ndarray, limits: Limits, columns: np.ndarray, *, with_slack: bool) -> tuple[float, np.ndarray]:
    """Return the value of the relaxation over some columns, and the reduced costs (n,) of all.

    Args:
        with_slack: whether tasks may be in no group, at a cost of 1.
    """
    rows = limits.rows[:, columns]
    cost = -values[columns]
    needed, limited = np.flatnonzero(limits.lower > 0), np.flatnonzero(np.isfinite(limits.upper))
    a = vstack([-rows[needed], rows[limited]], format="csc")
    b = np.concatenate([-limits.lower[needed], limits.upper[limited]])
    bounds: list[tuple[float, float | None]] = [(0.0, 1.0)] * len(columns)
    if with_slack:
        slack = vstack([-identity(len(needed)), csc_matrix((len(limited), len(needed)))])
        a = hstack([a, slack], format="csc")
        cost = np.concatenate([cost, np.ones(len(needed))])
        bounds += [(0.0, None)] * len(needed)
    solution = linprog(cost, A_ub=a, b_ub=b, bounds=bounds, method="highs")
    price = np.zeros(len(limits.lower))
    np.add.at(price, needed, -solution.ineqlin.marginals[: len(needed)])
    np.add.at(price, limited, solution.ineqlin.marginals[len(needed) :])
    return -float(solution.fun), values + limits.rows.T @ price


def _chosen(values: np.ndarray, limits: Limits, columns: np.ndarray, seconds: float) -> tuple[np.ndarray | None, float]:
    """Return the best choice among some columns, None where none is found, and an upper bound of its value."""
    solution = milp(
        -values[columns],
        integrality=np.ones(len(columns)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(limits.rows[:, columns], limits.lower, limits.upper)],
        options={"time_limit": max(seconds, 0.1), "mip_rel_gap": 0.0},
    )
    if solution.status == 2:
        return None, -math.inf
    return None if solution.x is None else columns[solution.x > 0.5], dual_bound(solution)
