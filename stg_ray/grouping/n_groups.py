"""How many groups: the mean silhouette of the tasks, against the same graph with its pairs shuffled.

The silhouette (Rousseeuw 1987) is taken on 1 - affinity. The number of groups with the largest mean silhouette is
chosen, unless shuffled graphs, which have no structure, do as well: then there is one group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import silhouette_score

from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import TaskGraph

N_SHUFFLED = 39
"""Shuffled graphs; structure is believed if it beats all of them, which noise does once in 40 times."""

MAX_GROUPS = 32


@dataclass(frozen=True)
class NumberOfGroups:
    """The choice and its evidence: silhouette by number of groups, and the best one of each shuffled graph."""

    chosen: int
    curve: dict[int, float]
    shuffled_best: float

    def to_dict(self) -> dict[str, object]:
        curve = [{"groups": n, "silhouette": round(score, 6)} for n, score in self.curve.items()]
        return {"criterion": "silhouette", "curve": curve, "shuffled_best": round(self.shuffled_best, 6)}


def choose_n_groups(
    graph: TaskGraph, clusterer: Clusterer, *, max_groups: int | None = None, seed: int = 0
) -> NumberOfGroups:
    """The number of groups of K tasks, from 1 to `max_groups` (by default K // 3, at least 2, at most 32)."""
    n_tasks = len(graph.affinity)
    most = min(max_groups or min(MAX_GROUPS, max(2, n_tasks // 3)), n_tasks - 1)
    if most < 2:
        return NumberOfGroups(1, {}, 0.0)
    curve = _silhouettes(graph, clusterer, most)
    rng = np.random.default_rng([seed, 4])
    shuffled = [max(_silhouettes(graph.permuted(rng), clusterer, most).values()) for _ in range(N_SHUFFLED)]
    best = max(curve, key=lambda n: (curve[n], -n))
    chosen = best if curve[best] > max(shuffled) else 1
    return NumberOfGroups(chosen, curve, max(shuffled))


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
