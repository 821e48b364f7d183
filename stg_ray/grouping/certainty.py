"""How sure the groups are: the affinities are resampled within their standard errors, and grouped again.

The errors come from the scatter of the parts about their mean, so this is what other parts might have said, at the
price of one K x K matrix. Errors of different pairs are drawn independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph
from stg_ray.task_matrix import TaskMatrix

N_RESAMPLES = 20


def resampled(matrix: TaskMatrix, error: np.ndarray, rng: np.random.Generator) -> TaskMatrix:
    """The matrix with normal errors (K, K) added to its pairs; distances do not fall below 0. Errors that are NaN
    count as none."""
    noise = np.triu(rng.normal(size=error.shape), 1)
    values = matrix.values + np.nan_to_num(error) * (noise + noise.T)
    return replace(matrix, values=np.maximum(values, 0) if matrix.kind == "distance" else values)


def certainty(labels: np.ndarray, clusterer: Clusterer, graphs: Sequence[TaskGraph]) -> np.ndarray:
    """(K,) share of the resampled graphs in which each task is in its group.

    A group of a resampled graph is the group here that shares most tasks with it, one to one (Kuhn 1955).
    """
    stays = np.zeros(len(labels))
    for graph in graphs:
        other = clusterer.fit(graph).labels_
        common = np.eye(labels.max() + 1)[labels].T @ np.eye(other.max() + 1)[other]
        here, there = linear_sum_assignment(common, maximize=True)
        partner = np.full(other.max() + 1, -1)
        partner[there] = here
        stays += partner[other] == labels
    return stays / len(graphs)
