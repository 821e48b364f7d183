"""The number of groups: the one with the largest score, if there is any structure among the tasks; otherwise one.

The silhouette (Rousseeuw 1987) of the clusterer's groups is taken on 1 - affinity; the eigengap is the fall after the
n-th eigenvalue of the normalised affinity (von Luxburg 2007); bic is minus the Bayesian information criterion of a
Gaussian mixture, whatever the clusterer; the stability is the mean agreement (adjusted Rand index) of the clusterer's
groups with those of resampled data. By default the silhouette decides: it counts planted blocks, and on CIFAR-100, with
its 20 super-classes, it chose 23 to 25 groups in three trainings, where the eigengap was largest at anything from 2 to
22.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Literal

import numpy as np
from scipy.linalg import eigh
from sklearn.metrics import adjusted_rand_score

from stg_ray.artifacts.evidence import DECIMALS, NumberChoice, Structure
from stg_ray.errors import InputError
from stg_ray.grouping.clusterers.base import Clustering, Data
from stg_ray.grouping.clusterers.mixture import Mixture
from stg_ray.grouping.clusterers.spectral import normalized_affinity
from stg_ray.grouping.graph import TaskGraph
from stg_ray.grouping.silhouette import silhouettes
from stg_ray.grouping.structure import find_structure
from stg_ray.grouping.threads import in_threads

Criterion = Literal["silhouette", "eigengap", "bic", "stability"]

MAX_GROUPS = 32


def most_groups(n_tasks: int, max_groups: int | None = None) -> int:
    """Return the largest number of groups that may be chosen.

    It is `max_groups` where given; else a third of the tasks, but at most 32, or twice the root of their number where
    that is more. It is always below the number of tasks.
    """
    usual = min(max(2, n_tasks // 3), max(MAX_GROUPS, math.ceil(2 * math.sqrt(n_tasks))))
    return max(1, min(max_groups or usual, n_tasks - 1))


def choose_n_groups(
    graph: TaskGraph,
    clustering: Clustering[Data],
    *,
    min_groups: int = 1,
    max_groups: int | None = None,
    criterion: Criterion = "silhouette",
    alone: Iterable[TaskGraph] = (),
    seed: int = 0,
) -> tuple[int, NumberChoice]:
    """Choose a number of groups, from `min_groups` to `most_groups`; without structure it is one, if that is allowed.

    Where the largest number is the best one, and the user has not set it, twice as many are tried, once.

    Args:
        graph: of the tasks, on which silhouettes, eigengaps and structure are measured.
        clustering: of the same tasks, whose groups are scored; its resamples are needed for the stability.
        min_groups: fewest groups; from 2 on, structure is not asked for.
        max_groups: most groups; see `most_groups`.
        criterion: the score.
        alone: graphs of the affinities that the graph combines. Structure in one of them is enough: another that has
            none may hide it in their sum.
        seed: of the graphs without structure.

    Returns:
        The number, and the evidence for it.

    Raises:
        InputError: the stability is asked for, and there are no resamples.
    """
    n_tasks = len(graph.affinity)
    most = max(min_groups, most_groups(n_tasks, max_groups))
    numbers = list(range(max(2, min_groups), most + 1))
    if not numbers:
        return 1, NumberChoice(criterion, {})
    scores: dict[str, Callable[[Sequence[int]], list[float]]] = {
        "silhouette": lambda tried: silhouettes(graph.dissimilarity, clustering.memberships(tried)),
        "eigengap": lambda tried: _eigengaps(graph, tried),
        "bic": lambda tried: Mixture(seed=seed).bayesian_information(graph, tried),
        "stability": lambda tried: _stabilities(clustering, tried),
    }
    curve = dict(zip(numbers, scores[criterion](numbers), strict=True))
    best = max(curve, key=lambda n: (curve[n], -n))
    if best == most and max_groups is None and most < n_tasks - 1:
        numbers = list(range(most + 1, min(2 * most, n_tasks - 1) + 1))
        curve |= dict(zip(numbers, scores[criterion](numbers), strict=True))
        best = max(curve, key=lambda n: (curve[n], -n))
    rounded = {n: round(score, DECIMALS) for n, score in curve.items()}
    if min_groups > 1:
        return best, NumberChoice(criterion, rounded)
    structure = _structure(chain([graph], alone), range(2, most_groups(n_tasks) + 1), seed)
    return best if structure.is_found else 1, NumberChoice(criterion, rounded, structure.rounded())


def _structure(graphs: Iterable[TaskGraph], numbers: Sequence[int], seed: int) -> Structure:
    """Return the first structure that is found in a graph; else what comes nearest to one."""
    tried = []
    for graph in graphs:
        tried.append(find_structure(graph, numbers, seed=seed))
        if tried[-1].is_found:
            return tried[-1]
    return max(tried, key=lambda structure: structure.excess - structure.threshold)


def _eigengaps(graph: TaskGraph, numbers: Sequence[int]) -> list[float]:
    """Return the fall after the n-th largest eigenvalue for each number n."""
    values = np.append(eigh(normalized_affinity(graph.edges), eigvals_only=True)[::-1], 0.0)
    return [float(values[n - 1] - values[n]) for n in numbers]


def _stabilities(clustering: Clustering[Data], numbers: Sequence[int]) -> list[float]:
    """Return the mean agreement with the groups of resampled data for each number of groups."""
    resamples = clustering.resamples
    if not resamples:
        raise InputError(
            "stability needs the affinities' errors: give errors= or resamples=, or choose the groups by silhouette"
        )
    labels = [u.argmax(axis=1) for u in clustering.memberships(numbers)]

    def labels_of(number: int) -> list[np.ndarray]:
        return [u.argmax(axis=1) for u in clustering.memberships_of(number, numbers)]

    others = in_threads(labels_of, range(len(resamples)), n_tasks=len(labels[0]))
    return [
        float(np.mean([adjusted_rand_score(label, other[i]) for other in others])) for i, label in enumerate(labels)
    ]
