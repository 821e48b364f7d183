"""Gaussian mixture over the leading coordinates of the tasks, with its posterior probabilities as memberships.

The coordinates are the classical scaling of the distances, as for k-means; as many are kept as hold half of the
variance, ten at most: a mixture in more dimensions than tasks per group has nothing to estimate them from. All
components have spherical covariances.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.mixture import GaussianMixture

from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.kmeans import classical_scaling
from stg_ray.grouping.graph import TaskGraph

MAX_DIMENSIONS = 10
RESTARTS = 5

SMALLEST_VARIANCE = 1e-3
"""Of a component, the widest coordinate having 1: otherwise a component shrinks onto two or three tasks."""


class Mixture(Clusterer[TaskGraph]):
    """Gaussian mixture with spherical covariances (by scikit-learn), on leading coordinates of classical scaling."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        points = leading_points(data)
        return [fit_mixture(points, n, self.seed).predict_proba(points) for n in numbers]

    def bayesian_information(self, graph: TaskGraph, numbers: Sequence[int]) -> list[float]:
        """Return minus the Bayesian information criterion (Schwarz 1978) for each number of components."""
        points = leading_points(graph)
        return [-float(fit_mixture(points, n, self.seed).bic(points)) for n in numbers]


def fit_mixture(points: np.ndarray, n: int, seed: int) -> GaussianMixture:
    """Fit a mixture of n components, fewer where there are fewer distinct points.

    Args:
        points: (K, m), whose widest coordinate has variance 1.
        n: components.
        seed: of the restarts.
    """
    n = min(n, len(np.unique(points, axis=0)))  # identical tasks are one point
    mixture = GaussianMixture(
        n, covariance_type="spherical", n_init=RESTARTS, random_state=seed, reg_covar=SMALLEST_VARIANCE
    )
    return mixture.fit(points)


def leading_points(graph: TaskGraph) -> np.ndarray:
    """Return (K, m) leading coordinates in units of their largest spread, the widest first."""
    points = classical_scaling(graph.distance)[:, ::-1]
    variance = np.square(points).sum(axis=0)
    kept = min(MAX_DIMENSIONS, int(np.searchsorted(np.cumsum(variance), variance.sum() / 2)) + 1)
    leading: np.ndarray = points[:, :kept] / max(points.std(axis=0).max(), 1e-300)
    return leading
