"""Upper bounds of the mean score of any selection, where there are too many groups to list them.

By sizes: in a group of s tasks a task scores at most the mean of its s - 1 largest affinities. How many groups of each
size there are, and in which size each task is, is a small mixed-integer programme.

By eigenvalues, without overlap: with v_g = 1_g / sqrt(s), a group of mean inner affinity m scores s m <= (s - 1) m + c
= v_g'(A + cI) v_g for any c >= m. The v_g of a partition are orthonormal and span the vector of ones, so the sum is at
most 1'A1 / K + G c + the G - 1 largest eigenvalues of A on the complement of the ones (Zha et al., NIPS 2001). With the
objective `groups` a group's value is v_g'A v_g itself, and c is 0; where they overlap, each is at most the largest
eigenvalue of A, and what its tasks score at most by its size.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import eigh
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix

from stg_ray.grouping.selection.programme import dual_bound
from stg_ray.tasks.conditions import Conditions


def upper_bound(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, *, seconds: float) -> float:
    """Compute the least of the bounds, in units of the mean score.

    Args:
        affinity: (K, K), centred, 0 on the diagonal.
        unit: (K,) unit of each task.
        conditions: that the groups keep.
        seconds: time limit of the programme.
    """
    n_tasks = len(affinity)
    symmetric = (affinity + affinity.T) / 2
    best = _best_by_size(symmetric if conditions.objective == "groups" else affinity, unit, conditions)
    sizes = np.arange(conditions.min_size, conditions.largest(n_tasks) + 1)
    if conditions.overlap and conditions.objective == "groups":
        largest = [float(column[:size].sum()) for column, size in zip(-np.sort(-best.T), sizes, strict=True)]
        of_one = min(max(largest), float(eigh(symmetric, eigvals_only=True)[-1]))
        return conditions.most_networks(n_tasks) * max(of_one, 0.0) / n_tasks
    bound = min(_by_sizes(best, sizes, conditions, seconds), float(best.max(axis=1).mean()))
    if conditions.overlap:
        return bound
    shift = 0.0 if conditions.objective == "groups" else max(0.0, float(best.max()))
    return min(bound, _by_eigenvalues(symmetric, shift, conditions))


def _best_by_size(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Return (K, S) the most that each task can score in a group of each allowed size; -inf where its unit does not
    fit in."""
    n_tasks = len(affinity)
    allowed = affinity.astype(np.float64).copy()
    for a, b in conditions.pairs_apart:
        allowed[a, b] = allowed[b, a] = -np.inf
    same = unit[:, None] == unit
    from_unit = np.where(same & ~np.eye(n_tasks, dtype=bool), affinity, 0).sum(axis=1)
    unit_size = same.sum(axis=1)
    top = -np.sort(-np.where(same, -np.inf, allowed), axis=1)
    sums = np.concatenate([np.zeros((n_tasks, 1)), np.cumsum(top, axis=1)], axis=1)
    columns = []
    for size in range(conditions.min_size, conditions.largest(n_tasks) + 1):
        others = size - unit_size
        total = from_unit + np.where(others >= 0, sums[np.arange(n_tasks), np.maximum(others, 0)], -np.inf)
        columns.append(total / conditions.shared_by(np.array(size)))
    return np.stack(columns, axis=1)


def _by_sizes(best: np.ndarray, sizes: np.ndarray, conditions: Conditions, seconds: float) -> float:
    """Return the bound by sizes: x_ts puts task t in a group of size s, n_s is the number of groups of that size."""
    n_tasks, n_sizes = best.shape
    task, size = np.nonzero(np.isfinite(best))
    n_pairs = len(task)
    pair = np.arange(n_pairs)
    n_variables = n_pairs + n_sizes
    no_pairs = np.zeros(n_pairs)
    once = coo_matrix((np.ones(n_pairs), (task, pair)), shape=(n_tasks, n_variables))
    places = coo_matrix(
        (
            np.concatenate([np.ones(n_pairs), -sizes.astype(float)]),
            (np.concatenate([size, np.arange(n_sizes)]), np.arange(n_variables)),
        ),
        shape=(n_sizes, n_variables),
    )
    networks = np.concatenate([no_pairs, np.ones(n_sizes)])
    constraints = [
        LinearConstraint(once.tocsr(), 1, 1),
        LinearConstraint(places.tocsr(), -np.inf if conditions.overlap else 0, 0),
        LinearConstraint(networks[None], 0, conditions.most_networks(n_tasks)),
    ]
    if conditions.cost is not None:
        costs = np.concatenate([no_pairs, conditions.cost_of(sizes)])
        constraints.append(LinearConstraint(costs[None], -np.inf, conditions.cost * (1 + 1e-12)))
    solution = milp(
        -np.concatenate([best[task, size], np.zeros(n_sizes)]) / n_tasks,
        integrality=networks,
        bounds=Bounds(0, np.concatenate([np.ones(n_pairs), np.full(n_sizes, n_tasks)])),
        constraints=constraints,
        options={"time_limit": seconds},
    )
    return dual_bound(solution)


def _by_eigenvalues(affinity: np.ndarray, shift: float, conditions: Conditions) -> float:
    """Return the bound by eigenvalues of a symmetric affinity, over all numbers of groups that are allowed."""
    n_tasks = len(affinity)
    most = conditions.most_networks(n_tasks)
    fewest = math.ceil(n_tasks / conditions.largest(n_tasks))
    centre = np.eye(n_tasks) - 1 / n_tasks
    values = eigh(centre @ affinity @ centre, eigvals_only=True)[::-1]
    # The ones are an eigenvector of the projected matrix with the value 0; on their complement the rest is kept.
    values = np.delete(values, np.abs(values).argmin())
    totals = [
        float(affinity.sum() / n_tasks + n_groups * shift + values[: n_groups - 1].sum())
        for n_groups in range(fewest, most + 1)
    ]
    return max(totals) / n_tasks
