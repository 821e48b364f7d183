"""Point-based data maps, as in STG-MTL (Sherif et al., arXiv 2307.03374): not the tasks are clustered, but the points
(mean confidence, variability) of all samples and tasks, by k-means; a task's membership of a cluster is the share of
its points there.

It measures how hard a task is to learn and how evenly, and not on which samples: two tasks with as many easy, ambiguous
and hard samples are alike, whichever these are. Tasks most of whose points are easy are one group, so that there are
often fewer groups than clusters: the hundred tasks against the rest of CIFAR-100 are a single one. The points are those
of the bins' middles, weighted by how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph
from stg_ray.point_histogram import PointHistogram

RESTARTS = 10


class PointClusters(Clusterer):
    def __init__(self, histogram: PointHistogram, n_groups: int = 2, *, seed: int = 0) -> None:
        super().__init__(n_groups, seed=seed)
        self.histogram = histogram

    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """The graph has no part in it."""
        total = self.histogram.counts.sum(axis=0).reshape(-1)
        used = np.flatnonzero(total)
        points, shares = self.histogram.points[used], self.histogram.shares[:, used]
        found = []
        for n in numbers:
            n = min(n, len(used))
            labels = KMeans(n, n_init=RESTARTS, random_state=self.seed).fit_predict(points, sample_weight=total[used])
            membership = shares @ np.eye(n)[labels]
            found.append(np.where(np.isnan(membership), 1 / n, membership))  # a task without points: each as much
        return found
