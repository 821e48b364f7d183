"""Spectral clustering of the task graph.

The leading eigenvectors of D^(-1/2) A D^(-1/2) (Ng, Jordan and Weiss 2001), turned into groups by the column-pivoted QR
factorisation of Damle, Minden and Ying 2019: deterministic, without restarts or starting points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh, qr, svd

from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.graph import TaskGraph


class Spectral(Clusterer[TaskGraph]):
    """Spectral clustering with column-pivoted QR (Damle, Minden and Ying 2019); it has no random starts."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        vectors = spectral_embedding(data.edges, max(numbers))
        return [cluster_qr(vectors[:, :n]) for n in numbers]


def normalized_affinity(affinity: np.ndarray) -> np.ndarray:
    """Return D^(-1/2) A D^(-1/2), D being the tasks' degrees.

    A task without any edge becomes a component of its own.
    """
    degree = affinity.sum(axis=1)
    scale = 1 / np.sqrt(np.where(degree > 0, degree, 1))
    normalized: np.ndarray = affinity * np.outer(scale, scale)
    normalized[np.diag_indices_from(normalized)] += degree == 0  # the eigenvalue 1, like any component
    return normalized


def spectral_embedding(affinity: np.ndarray, n_vectors: int) -> np.ndarray:
    """Return (K, n_vectors) eigenvectors of the normalised affinity, the largest eigenvalue first."""
    n_tasks = len(affinity)
    vectors: np.ndarray = eigh(normalized_affinity(affinity), subset_by_index=(n_tasks - n_vectors, n_tasks - 1))[1]
    return vectors[:, ::-1]


def cluster_qr(vectors: np.ndarray) -> np.ndarray:
    """Return memberships (K, n) from K points in n dimensions, one for each group.

    They are the shares of each point's squared length along the axes that the factorisation gives, one per group.
    """
    n_groups = vectors.shape[1]
    if n_groups == 1:
        return np.ones((len(vectors), 1))
    pivots = qr(vectors.T, pivoting=True, mode="economic")[2]
    left, _, right = svd(vectors[pivots[:n_groups]].T)
    squared = np.square(vectors @ (left @ right))
    total = squared.sum(axis=1, keepdims=True)
    # A task that none of these vectors reaches (more components than groups) belongs to each group as much.
    shares: np.ndarray = np.where(total > 1e-24, squared / np.maximum(total, 1e-24), 1 / n_groups)
    return shares
