"""Point-based data maps, as in STG-MTL (Sherif et al., arXiv 2307.03374): not the tasks are clustered, but the points
(mean confidence, variability) of all samples and tasks, by k-means; a task's membership of a cluster is the share of
its points there.

It measures how hard a task is to learn and how evenly, and not on which samples: two tasks with as many easy, ambiguous
and hard samples are alike, whichever these are. Tasks most of whose points are easy are one group, so that there are
often fewer groups than clusters: the hundred tasks against the rest of CIFAR-100 are a single one. The points are those
of the bins' middles, weighted by how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.cluster import KMeans

from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.grouping.certainty import N_RESAMPLES
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.graph import TaskGraph
from stg_ray.seeds import Stream, generator

RESTARTS = 10


class PointClusters(Clusterer):
    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Of the graph only the points have a part in it."""
        assert graph.points is not None
        total = graph.points.counts.sum(axis=0).reshape(-1)
        used = np.flatnonzero(total)
        points, shares = graph.points.points[used], graph.points.shares[:, used]
        found = []
        for n in numbers:
            n = min(n, len(used))
            labels = KMeans(n, n_init=RESTARTS, random_state=self.seed).fit_predict(points, sample_weight=total[used])
            membership = shares @ np.eye(n)[labels]
            found.append(np.where(np.isnan(membership), 1 / n, membership))  # a task without points: each as much
        return found


class ResampledPoints(Sequence[TaskGraph]):
    """Graphs of what other samples might have given: each count drawn from a Poisson distribution around it, as where
    samples are drawn with replacement (Chamandy et al. 2012), each task for itself."""

    def __init__(
        self, histogram: PointHistogram, graph_of: Callable[[PointHistogram], TaskGraph], *, seed: int
    ) -> None:
        self.histogram, self.graph_of, self.seed = histogram, graph_of, seed

    def __len__(self) -> int:
        return N_RESAMPLES

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if not 0 <= number < len(self):
            raise IndexError(number)
        counts = generator(Stream.RESAMPLED_GRAPHS, self.seed, number).poisson(self.histogram.counts)
        return self.graph_of(PointHistogram(self.histogram.tasks, counts.astype(np.float64)))
