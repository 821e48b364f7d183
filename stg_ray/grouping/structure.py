"""A test for structure among the tasks.

Any cloud of points can be cut into pieces, and any matrix into blocks. So the modularity of the task graph's spectral
groups (Newman and Girvan 2004), for each number of groups, is compared with its mean over graphs without structure, as
the gap statistic does with the spread (Tibshirani, Walther and Hastie 2001). There are two kinds of graphs without
structure: the same pairs shuffled, and Gaussian points whose spread in each direction is that of the tasks. There is
structure where the largest excess is beyond that of these graphs among themselves, by three standard deviations, for
both kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.sparse import csr_array

from stg_ray.artifacts.evidence import Structure
from stg_ray.grouping.clusterers.kmeans import classical_scaling
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph, default_neighbours, local_scaling, seen_from_centre
from stg_ray.grouping.threads import in_threads
from stg_ray.seeds import Stream, generator

N_NULL = 20
"""Graphs without structure, of each kind."""

DEVIATIONS = 3.0
"""Standard deviations above the mean of graphs without structure, from which on there is structure."""


def find_structure(graph: TaskGraph, numbers: Sequence[int], *, seed: int = 0) -> Structure:
    """Compare the graph with graphs without structure.

    Args:
        graph: of the tasks.
        numbers: of groups that are tried.
        seed: of the graphs without structure.
    """
    rng = generator(Stream.NULL_GRAPHS, seed)
    # In a full graph most of the weight lies between groups, whatever they are: the nearest neighbours tell more.
    graph = replace(graph, neighbours=default_neighbours(len(graph.affinity)))
    of_tasks = modularities(graph, numbers)
    spread = classical_scaling(graph.given_distance).std(axis=0)
    draws: list[Callable[[np.random.Generator], TaskGraph]] = [graph.permuted, partial(_gaussian, graph, spread)]
    comparisons = []
    for draw in draws:
        of_draw = partial(_modularities_of, draw, numbers)
        values = np.array(in_threads(of_draw, rng.spawn(N_NULL), n_tasks=len(graph.affinity)))
        total = values.sum(axis=0)
        # Each null graph is compared with the others, as the tasks' graph is with all of them.
        among = (values - (total - values) / (N_NULL - 1)).max(axis=1)
        excess = float((of_tasks - total / N_NULL).max())
        comparisons.append(Structure(excess, float(among.mean() + DEVIATIONS * among.std(ddof=1))))
    return min(comparisons, key=lambda structure: structure.excess - structure.threshold)


def modularities(graph: TaskGraph, numbers: Sequence[int]) -> np.ndarray:
    """Return the modularity of the spectral groups for each number of groups.

    It is the share of the edges' weight within groups, minus the share if the same degrees met at random.
    """
    edges = csr_array(graph.edges)
    degree = edges.sum(axis=1)
    total = max(degree.sum(), 1e-300)
    scores = []
    for membership in Spectral().memberships(graph, numbers):
        inside = np.eye(membership.shape[1])[membership.argmax(axis=1)]
        scores.append(((inside * (edges @ inside)).sum() - np.square(degree @ inside).sum() / total) / total)
    return np.array(scores)


def _modularities_of(
    draw: Callable[[np.random.Generator], TaskGraph], numbers: Sequence[int], rng: np.random.Generator
) -> np.ndarray:
    return modularities(draw(rng), numbers)


def _gaussian(graph: TaskGraph, spread: np.ndarray, rng: np.random.Generator) -> TaskGraph:
    """Draw a graph of as many Gaussian points with this spread in each direction."""
    cloud = rng.normal(size=(len(graph.given_distance), len(spread))) * spread
    squared = np.square(cloud).sum(axis=1)
    distance = np.sqrt(np.maximum(squared[:, None] + squared - 2 * cloud @ cloud.T, 0))
    np.fill_diagonal(distance, 0)
    seen = seen_from_centre(distance)
    return TaskGraph(local_scaling(seen), seen, distance, graph.neighbours)
