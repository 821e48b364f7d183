"""Spectral clustering of the task graph.

The leading eigenvectors of D^(-1/2) A D^(-1/2) (Ng, Jordan and Weiss 2001), turned into groups by the column-pivoted QR
factorisation of Damle, Minden and Ying 2019: deterministic, without restarts or starting points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh, qr, svd
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, eigsh

from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.graph import TaskGraph

MANY, DENSE = 1200, 0.05
"""From so many tasks on, Lanczos iterations are faster than a factorisation, where no more than this share of the pairs
have edges: 3,000 tasks take 0.4 s instead of 2.5."""


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
    """Return (K, n_vectors) eigenvectors of the normalised affinity, the largest eigenvalue first.

    Those of a large graph of nearest neighbours are found by Lanczos iterations; otherwise all at once.
    """
    n_tasks = len(affinity)
    if n_tasks >= MANY and n_vectors <= n_tasks // 4 and np.count_nonzero(affinity) <= DENSE * n_tasks**2:
        return lanczos(csr_array(affinity), n_vectors)
    vectors: np.ndarray = eigh(normalized_affinity(affinity), subset_by_index=(n_tasks - n_vectors, n_tasks - 1))[1]
    return vectors[:, ::-1]


def lanczos(affinity: csr_array, n_vectors: int) -> np.ndarray:
    """Return (K, n_vectors) eigenvectors of the normalised affinity (K, K), the largest eigenvalue first.

    Iterations from one vector find one vector of an eigenvalue, however many it has. Those of the largest one, 1, are
    known: the roots of the tasks' degrees within each connected component. The iterations are done beside them.
    """
    degree = affinity.sum(axis=1)
    root = np.sqrt(np.where(degree > 0, degree, 1))
    normalized = diags_array(1 / root) @ affinity @ diags_array(1 / root)
    n_components, component = connected_components(affinity, directed=False)
    largest = np.argsort(-np.bincount(component), kind="stable")[:n_vectors]
    known = np.where(component[:, None] == largest, root[:, None], 0)
    known /= np.linalg.norm(known, axis=0)
    if n_components >= n_vectors:
        return known

    def without_known(vector: np.ndarray) -> np.ndarray:
        image: np.ndarray = normalized @ vector - 2 * (known @ (known.T @ vector))
        return image

    operator = LinearOperator((len(root), len(root)), matvec=without_known, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=len(root))
    vectors = eigsh(operator, n_vectors - n_components, which="LA", v0=start)[1]
    return np.concatenate([known, vectors[:, ::-1]], axis=1)


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
