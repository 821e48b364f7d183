"""Average-linkage agglomerative clustering of the tasks' distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from stg_ray.grouping.clusterers.base import Clusterer, soft_membership
from stg_ray.grouping.graph import TaskGraph


class Agglomerative(Clusterer):
    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        tree = linkage(squareform(graph.distance, checks=False), method="average")
        return [soft_membership(graph.affinity, fcluster(tree, n, criterion="maxclust")) for n in numbers]
