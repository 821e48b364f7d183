"""Fuzzy c-means, iterated (Bezdek 1981), on the same points as k-means and from its centroids.

Alternately u_tc = 1 / sum_j (d_tc / d_tj)^(2 / (m - 1)) and centroids c = sum_t u_tc^m x_t / sum_t u_tc^m, until the
memberships stand still.
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


class FuzzyCMeans(Clusterer):
    fuzziness = FUZZINESS

    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        points = classical_scaling(graph.distance)
        distinct = len(np.unique(points, axis=0))
        return [self._iterate(points, min(n, distinct)) for n in numbers]

    def _iterate(self, points: np.ndarray, n: int) -> np.ndarray:
        centroids = KMeans(n, n_init=RESTARTS, random_state=self.seed).fit(points).cluster_centers_
        membership = fuzzy_membership(euclidean_distances(points, centroids, squared=True), self.fuzziness)
        for _ in range(MAX_ITERATIONS):
            weight = membership**self.fuzziness
            centroids = weight.T @ points / weight.sum(axis=0)[:, None]
            before = membership
            membership = fuzzy_membership(euclidean_distances(points, centroids, squared=True), self.fuzziness)
            if np.abs(membership - before).max() < 1e-6:
                break
        return membership
