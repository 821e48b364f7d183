"""Spectral clustering of the task graph.

The leading eigenvectors of D^(-1/2) A D^(-1/2) (Ng, Jordan and Weiss 2001), turned into groups by the column-pivoted QR
factorisation of Damle, Minden and Ying 2019: deterministic, without restarts or starting points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh, qr, svd

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph


class Spectral(Clusterer):
    def labels_for(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        vectors = spectral_embedding(graph.affinity, max(numbers))
        return [_cluster_qr(vectors[:, :n]) for n in numbers]


def spectral_embedding(affinity: np.ndarray, n_vectors: int) -> np.ndarray:
    """(K, n_vectors) eigenvectors of the normalised affinity, the largest eigenvalue first."""
    degree = affinity.sum(axis=1)
    # A task without any edge has degree 0; it becomes a component of its own, with eigenvalue 1 like the others'.
    scale = 1 / np.sqrt(np.where(degree > 0, degree, 1))
    normalised = affinity * np.outer(scale, scale)
    normalised[np.diag_indices_from(normalised)] += degree == 0
    n_tasks = len(affinity)
    _, vectors = eigh(normalised, subset_by_index=(n_tasks - n_vectors, n_tasks - 1))
    return vectors[:, ::-1]


def _cluster_qr(vectors: np.ndarray) -> np.ndarray:
    """Labels (K,) from K points in as many dimensions as there are groups."""
    n_groups = vectors.shape[1]
    if n_groups == 1:
        return np.zeros(len(vectors), dtype=np.intp)
    pivots = qr(vectors.T, pivoting=True, mode="economic")[2]
    left, _, right = svd(vectors[pivots[:n_groups]].T)
    return np.abs(vectors @ (left @ right)).argmax(axis=1)
