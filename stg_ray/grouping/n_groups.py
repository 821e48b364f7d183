"""How many groups: the number with the largest score, if there is any structure among the tasks; otherwise one.

The silhouette (Rousseeuw 1987) of the clusterer's groups is taken on 1 - affinity; the eigengap is the fall after the
n-th eigenvalue of the normalised affinity (von Luxburg 2007); bic is minus the Bayesian information criterion of a
Gaussian mixture, whatever the clusterer; the stability is the mean agreement (adjusted Rand index) of the clusterer's
groups with those of resampled graphs. By default the silhouette decides: it counts planted
blocks, and on CIFAR-100, with its 20 super-classes, it chose 23 to 25 groups in three trainings, where the eigengap
was largest at anything from 2 to 22.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score

from stg_ray.errors import InputError
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.mixture import Mixture
from stg_ray.grouping.clusterers.spectral import normalized_affinity
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.structure import Structure, find_structure
from stg_ray.grouping.threads import in_threads

Criterion = Literal["silhouette", "eigengap", "bic", "stability"]

MAX_GROUPS = 32


@dataclass(frozen=True)
class NumberOfGroups:
    """The choice and its evidence.

    Attributes:
        chosen: 1 if there is no structure.
        criterion, curve: its score by number of groups.
        structure: None where one group was out of the question.
    """

    chosen: int
    criterion: str
    curve: dict[int, float]
    structure: Structure | None = None

    def to_dict(self) -> dict[str, object]:
        curve = [{"groups": n, self.criterion: round(score, 6)} for n, score in self.curve.items()]
        found = self.structure
        evidence = found and {"excess_modularity": round(found.excess, 6), "threshold": round(found.threshold, 6)}
        return {"criterion": self.criterion, "curve": curve, "structure": evidence}


def most_groups(n_tasks: int, max_groups: int | None = None) -> int:
    """The largest number of groups that may be chosen: `max_groups`, or a third of the tasks, but at most 32, or twice
    the root of their number where that is more."""
    usual = min(max(2, n_tasks // 3), max(MAX_GROUPS, math.ceil(2 * math.sqrt(n_tasks))))
    return max(1, min(max_groups or usual, n_tasks - 1))


def choose_n_groups(
    graph: TaskGraph,
    clusterer: Clusterer,
    *,
    min_groups: int = 1,
    max_groups: int | None = None,
    criterion: Criterion = "silhouette",
    resampled: Sequence[TaskGraph] = (),
    alone: Iterable[TaskGraph] = (),
    seed: int = 0,
) -> NumberOfGroups:
    """The number of groups, from `min_groups` to `most_groups`; without structure it is one, if that is allowed.

    Args:
        resampled: graphs of resampled affinities, which the stability needs.
        alone: graphs of the affinities that the graph combines. Structure in one of them is enough: another that has
            none may hide it in their sum.

    Raises:
        InputError: the stability is asked for, and there are no resampled graphs.
    """
    most = max(min_groups, most_groups(len(graph.affinity), max_groups))
    numbers = list(range(max(2, min_groups), most + 1))
    if not numbers:
        return NumberOfGroups(1, criterion, {})
    scores: dict[str, Callable[[], list[float]]] = {
        "silhouette": lambda: silhouettes(graph, clusterer, numbers),
        "eigengap": lambda: _eigengaps(graph, numbers),
        "bic": lambda: Mixture(seed=seed).bayesian_information(graph, numbers),
        "stability": lambda: _stabilities(graph, clusterer, numbers, resampled),
    }
    curve = dict(zip(numbers, scores[criterion](), strict=True))
    best = max(curve, key=lambda n: (curve[n], -n))
    if min_groups > 1:
        return NumberOfGroups(best, criterion, curve)
    for one in (graph, *alone):
        structure = find_structure(one, range(2, most_groups(len(graph.affinity)) + 1), seed=seed)
        if structure.is_found:
            break
    return NumberOfGroups(best if structure.is_found else 1, criterion, curve, structure)


def silhouettes(graph: TaskGraph, clusterer: Clusterer, numbers: Sequence[int]) -> list[float]:
    """Mean silhouette of the tasks for each number of groups; -1 where all tasks are in one. A task that is alone in
    its group has the silhouette 0."""
    dissimilarity = 1 - graph.affinity
    np.fill_diagonal(dissimilarity, 0)
    all_labels = [np.unique(u.argmax(axis=1), return_inverse=True)[1] for u in clusterer.memberships(graph, numbers)]
    inside = [np.eye(labels.max() + 1)[labels] for labels in all_labels]
    sums = np.split(
        dissimilarity @ np.concatenate(inside, axis=1), np.cumsum([m.shape[1] for m in inside])[:-1], axis=1
    )
    rows = np.arange(len(dissimilarity))
    scores = []
    for labels, own_sums, members in zip(all_labels, sums, inside, strict=True):
        sizes = members.sum(axis=0)
        if len(sizes) == 1:
            scores.append(-1.0)
            continue
        within = own_sums[rows, labels] / np.maximum(sizes[labels] - 1, 1)
        others = own_sums / sizes
        others[rows, labels] = np.inf
        nearest = others.min(axis=1)
        larger = np.maximum(np.maximum(within, nearest), 1e-300)
        scores.append(float(np.where(sizes[labels] > 1, (nearest - within) / larger, 0).mean()))
    return scores


def _eigengaps(graph: TaskGraph, numbers: Sequence[int]) -> list[float]:
    values = np.append(eigh(normalized_affinity(graph.edges), eigvals_only=True)[::-1], 0.0)
    return [float(values[n - 1] - values[n]) for n in numbers]


def _stabilities(
    graph: TaskGraph, clusterer: Clusterer, numbers: Sequence[int], resampled: Sequence[TaskGraph]
) -> list[float]:
    if not resampled:
        raise InputError(
            "stability needs the affinities' errors: give errors= or resamples=, or choose the groups by silhouette"
        )
    labels = [u.argmax(axis=1) for u in clusterer.memberships(graph, numbers)]

    def labels_of(number: int) -> list[np.ndarray]:
        return [u.argmax(axis=1) for u in clusterer.memberships(resampled[number], numbers)]

    others = in_threads(labels_of, range(len(resampled)), n_tasks=len(graph.affinity))
    return [float(np.mean([adjusted_rand_score(own, o[i]) for o in others])) for i, own in enumerate(labels)]
