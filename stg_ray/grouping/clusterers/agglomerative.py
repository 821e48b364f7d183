"""Average-linkage agglomerative clustering of the tasks' distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from stg_ray.grouping.clusterers.base import Clusterer, soft_membership
from stg_ray.grouping.graph import TaskGraph


class Agglomerative(Clusterer[TaskGraph]):
    """Average linkage on the distances (Sokal and Michener 1958), with memberships by mean affinity."""

    def memberships(self, data: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        tree = linkage(squareform(data.distance, checks=False), method="average")
        return [soft_membership(data.affinity, fcluster(tree, n, criterion="maxclust")) for n in numbers]
