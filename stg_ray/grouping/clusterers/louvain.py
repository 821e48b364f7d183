"""Louvain communities of the task graph (Blondel et al. 2008, by networkx).

The method has a resolution instead of a number of groups. It runs at resolutions from coarse to fine; the first
partition with enough communities is taken, and its most alike communities are merged until the number is right.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np

from stg_ray.grouping.clusterers.base import Clusterer, soft_membership
from stg_ray.grouping.graph import TaskGraph

RESOLUTIONS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0)


class Louvain(Clusterer[TaskGraph]):
    """Louvain communities (Blondel et al. 2008), merged to the number of groups."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        network = nx.from_numpy_array(data.edges)
        n_tasks = len(data.affinity)
        most = max(numbers)
        partitions: list[np.ndarray] = []
        for resolution in RESOLUTIONS:
            labels = np.zeros(n_tasks, dtype=np.intp)
            for c, members in enumerate(
                nx.community.louvain_communities(network, resolution=resolution, seed=self.seed)
            ):
                labels[list(members)] = c
            partitions.append(labels)
            if labels.max() + 1 >= most:
                break
        else:
            partitions.append(np.arange(n_tasks))
        memberships = []
        for n in numbers:
            enough = next(labels for labels in partitions if labels.max() + 1 >= n)
            memberships.append(soft_membership(data.affinity, _merged(data.affinity, enough, n)))
        return memberships


def _merged(affinity: np.ndarray, labels: np.ndarray, n_groups: int) -> np.ndarray:
    """Merge the two groups with the largest mean affinity between them until `n_groups` are left."""
    labels = np.unique(labels, return_inverse=True)[1]
    while (n := int(labels.max()) + 1) > n_groups:
        inside = np.eye(n)[labels]
        sizes = inside.sum(axis=0)
        between = inside.T @ affinity @ inside / np.outer(sizes, sizes)
        np.fill_diagonal(between, -1)
        a, b = sorted(np.unravel_index(between.argmax(), between.shape))
        labels = np.unique(np.where(labels == b, a, labels), return_inverse=True)[1]
    return labels
