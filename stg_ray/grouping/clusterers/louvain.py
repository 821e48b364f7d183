"""Louvain communities of the task graph (Blondel et al. 2008, by networkx).

The method has no number of groups but a resolution. It is run at resolutions from coarse to fine; the first partition
with enough communities is taken, and its most alike communities are merged until as many are left as were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np

from stg_ray.grouping.clusterers.base import Clusterer, soft_membership
from stg_ray.grouping.graph import TaskGraph

RESOLUTIONS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0)


class Louvain(Clusterer):
    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        network = nx.from_numpy_array(graph.edges)
        n_tasks = len(graph.affinity)
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
        found = []
        for n in numbers:
            enough = next(labels for labels in partitions if labels.max() + 1 >= n)
            found.append(soft_membership(graph.affinity, _merged(graph.affinity, enough, n)))
        return found


def _merged(affinity: np.ndarray, labels: np.ndarray, n_groups: int) -> np.ndarray:
    """The labels after merging, again and again, the two groups with the largest mean affinity between them."""
    labels = np.unique(labels, return_inverse=True)[1]
    while (n := int(labels.max()) + 1) > n_groups:
        inside = np.eye(n)[labels]
        sizes = inside.sum(axis=0)
        between = inside.T @ affinity @ inside / np.outer(sizes, sizes)
        np.fill_diagonal(between, -1)
        a, b = sorted(np.unravel_index(between.argmax(), between.shape))
        labels = np.unique(np.where(labels == b, a, labels), return_inverse=True)[1]
    return labels
