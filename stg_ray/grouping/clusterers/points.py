"""Point-based data maps, as in STG-MTL (Sherif et al., arXiv 2307.03374): points are clustered instead of tasks.

k-means clusters the points (mean confidence, variability) of all samples and tasks; a task's membership of a cluster is
the share of its points there. This measures how hard a task is to learn and how evenly, and not on which samples: two
tasks with as many easy, ambiguous and hard samples are alike, whichever samples these are. Tasks most of whose points
are easy are one group, so that there are often fewer groups than clusters: the hundred one-against-the-rest tasks of
CIFAR-100 are a single group. The points are the middles of the histograms' bins, weighted by their counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import KMeans

from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.grouping.clusterers.base import Clusterer

RESTARTS = 10


class PointClusters(Clusterer[PointHistogram]):
    """k-means of the points of data maps (Sherif et al., STG-MTL), from their histograms."""

    def memberships(self, data: PointHistogram, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        total = data.counts.sum(axis=0).reshape(-1)
        used = np.flatnonzero(total)
        points, shares = data.points[used], data.shares[:, used]
        memberships = []
        for n in numbers:
            n = min(n, len(used))
            labels = KMeans(n, n_init=RESTARTS, random_state=self.seed).fit_predict(points, sample_weight=total[used])
            membership = shares @ np.eye(n)[labels]
            # A task without points belongs to each group as much.
            memberships.append(np.where(np.isnan(membership), 1 / n, membership))
        return memberships
