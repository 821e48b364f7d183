"""k-means of the tasks with memberships from its centroids, as in STG-MTL (Sherif et al., arXiv 2307.03374).

The points are the classical scaling of the distances (the eigenvectors of the centred Gram matrix), which for Euclidean
distances such as the data maps' is an exact change of coordinates: K points in fewer than K dimensions. Memberships are
u_tc = 1 / sum_j (d_tc / d_tj)^(2 / (m - 1)) with the paper's fuzziness m = 1.07.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans

from stg_ray.grouping.clusterers.base import Clusterer, fuzzy_membership
from stg_ray.grouping.graph import TaskGraph

FUZZINESS = 1.07
"""The paper's m."""

RESTARTS = 10


class KMeansGrouping(Clusterer[TaskGraph]):
    """k-means on classical scaling, with fuzzy memberships from its centroids (Sherif et al., STG-MTL)."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        points = classical_scaling(data.distance)
        return [fuzzy_membership(self._squared(points, n), FUZZINESS) for n in numbers]

    def _squared(self, points: np.ndarray, n: int) -> np.ndarray:
        """Return (K, n) squared distances to the centroids."""
        n = min(n, len(np.unique(points, axis=0)))  # identical tasks are one point
        squared: np.ndarray = np.square(KMeans(n, n_init=RESTARTS, random_state=self.seed).fit_transform(points))
        return squared


def classical_scaling(distance: np.ndarray) -> np.ndarray:
    """Return points (K, m) with these distances (Torgerson 1952).

    Parts of the distances that are not Euclidean are left out. The last coordinate has the largest spread.
    """
    values, vectors = eigh(centred_gram(distance))
    kept = values > 1e-12 * max(values.max(), 1e-300)
    return vectors[:, kept] * np.sqrt(values[kept]) if kept.any() else np.zeros((len(distance), 1))


def centred_gram(distance: np.ndarray) -> np.ndarray:
    """Return the inner products (K, K), from their centre, of points with these distances (Torgerson 1952)."""
    gram: np.ndarray = np.square(distance)
    mean = gram.mean(axis=1)
    gram -= mean[:, None] + mean
    gram += mean.mean()
    gram *= -0.5
    return gram
