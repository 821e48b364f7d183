"""How many groups: the mean silhouette of the tasks, against graphs without structure.

The silhouette (Rousseeuw 1987) is taken on 1 - affinity. The number of groups with the largest mean silhouette is
chosen, if it beats the best silhouette of every null graph; otherwise there is one group. Any cloud of points can be
cut into pieces with a positive silhouette, and any matrix into blocks, so there are two kinds of null graphs: the same
pairs shuffled, and Gaussian points whose spread in each direction is that of the tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import silhouette_score

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph, local_scaling
from stg_ray.grouping.kmeans import classical_scaling

N_NULL = 39
"""Null graphs of each kind; noise of the kind beats all of them once in 40 times."""

MAX_GROUPS = 32


@dataclass(frozen=True)
class NumberOfGroups:
    """The choice and its evidence: silhouette by number of groups, and the best one of the null graphs."""

    chosen: int
    curve: dict[int, float]
    null_best: float

    def to_dict(self) -> dict[str, object]:
        curve = [{"groups": n, "silhouette": round(score, 6)} for n, score in self.curve.items()]
        return {"criterion": "silhouette", "curve": curve, "null_best": round(self.null_best, 6)}


def most_groups(n_tasks: int, max_groups: int | None = None) -> int:
    """The largest number of groups that may be chosen: `max_groups`, or a third of the tasks, at most 32."""
    return max(1, min(max_groups or min(MAX_GROUPS, max(2, n_tasks // 3)), n_tasks - 1))


def choose_n_groups(
    graph: TaskGraph, clusterer: Clusterer, *, max_groups: int | None = None, seed: int = 0
) -> NumberOfGroups:
    """The number of groups, from 1 to `most_groups`."""
    most = most_groups(len(graph.affinity), max_groups)
    if most < 2:
        return NumberOfGroups(1, {}, 0.0)
    curve = _silhouettes(graph, clusterer, most)
    best = max(curve, key=lambda n: (curve[n], -n))
    rng = np.random.default_rng([seed, 4])
    points = classical_scaling(graph.distance)
    null_best = -1.0
    for _ in range(N_NULL):
        for null in (graph.permuted(rng), _gaussian_graph(points, rng)):
            null_best = max(null_best, *_silhouettes(null, clusterer, most).values())
        if null_best >= curve[best]:
            break  # one null graph that does as well is enough
    return NumberOfGroups(best if curve[best] > null_best else 1, curve, null_best)


def _gaussian_graph(points: np.ndarray, rng: np.random.Generator) -> TaskGraph:
    """The graph of as many Gaussian points with the same spread in each direction."""
    cloud = rng.normal(size=points.shape) * points.std(axis=0)
    squared = np.square(cloud).sum(axis=1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared - 2 * cloud @ cloud.T, 0))
    np.fill_diagonal(distance, 0)
    return TaskGraph(local_scaling(distance), distance)


def _silhouettes(graph: TaskGraph, clusterer: Clusterer, most: int) -> dict[int, float]:
    dissimilarity = 1 - graph.affinity
    np.fill_diagonal(dissimilarity, 0)
    numbers = list(range(2, most + 1))
    scores = {}
    for n, labels in zip(numbers, clusterer.labels_for(graph, numbers), strict=True):
        found = len(np.unique(labels))
        several = 1 < found < len(labels)
        scores[n] = float(silhouette_score(dissimilarity, labels, metric="precomputed")) if several else -1.0
    return scores
