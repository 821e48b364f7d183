"""Fuzzy c-means (Bezdek 1981), on the same points as k-means and from its centroids.

Memberships u_tc = 1 / sum_j (d_tc / d_tj)^(2 / (m - 1)) and centroids c = sum_t u_tc^m x_t / sum_t u_tc^m are computed
in turn, until the memberships stand still.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances

from stg_ray.grouping.clusterers.base import Clusterer, fuzzy_membership
from stg_ray.grouping.clusterers.kmeans import FUZZINESS, RESTARTS, classical_scaling
from stg_ray.grouping.graph import TaskGraph

MAX_ITERATIONS = 300


class FuzzyCMeans(Clusterer[TaskGraph]):
    """Fuzzy c-means, iterated (Bezdek 1981).

    Args:
        n_groups: how many groups are made.
        fuzziness: m of the formula; near 1 the groups are hard.
        seed: of the restarts of k-means, from whose centroids it starts.
    """

    def __init__(self, n_groups: int = 2, *, fuzziness: float = FUZZINESS, seed: int = 0) -> None:
        super().__init__(n_groups, seed=seed)
        self.fuzziness = fuzziness

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        points = classical_scaling(data.distance)
        distinct = len(np.unique(points, axis=0))
        return [self._iterate(points, min(n, distinct)) for n in numbers]

    def _iterate(self, points: np.ndarray, n: int) -> np.ndarray:
        centroids = KMeans(n, n_init=RESTARTS, random_state=self.seed).fit(points).cluster_centers_
        membership = self._membership(points, centroids)
        for _ in range(MAX_ITERATIONS):
            weight = membership**self.fuzziness
            centroids = weight.T @ points / weight.sum(axis=0)[:, None]
            before = membership
            membership = self._membership(points, centroids)
            if np.abs(membership - before).max() < 1e-6:
                break
        return membership

    def _membership(self, points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
        return fuzzy_membership(euclidean_distances(points, centroids, squared=True), self.fuzziness)
