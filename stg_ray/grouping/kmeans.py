"""k-means of the tasks, as STG-MTL clusters data maps (Sherif et al., arXiv 2307.03374).

The points are the classical scaling of the distances (the eigenvectors of the centred Gram matrix), which for Euclidean
distances such as the data maps' is an exact change of coordinates: K points in fewer than K dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from sklearn.cluster import KMeans

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph


class KMeansGrouping(Clusterer):
    def labels_for(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        points = classical_scaling(graph.distance)
        return [KMeans(n, n_init=20, random_state=self.seed).fit_predict(points) for n in numbers]


def classical_scaling(distance: np.ndarray) -> np.ndarray:
    """Points (K, m) with these distances; parts of the distances that are not Euclidean are left out."""
    centre = np.eye(len(distance)) - 1 / len(distance)
    values, vectors = eigh(-0.5 * centre @ np.square(distance) @ centre)
    kept = values > 1e-12 * max(values.max(), 1e-300)
    return vectors[:, kept] * np.sqrt(values[kept]) if kept.any() else np.zeros((len(distance), 1))
