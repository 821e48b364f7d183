"""A test for structure among the tasks.

Any cloud of points can be cut into pieces, and any matrix into blocks. So the mean silhouette (Rousseeuw 1987) of the
task graph's spectral groups, for each number of groups, is compared with those of graphs without structure, as the gap
statistic does with the spread (Tibshirani, Walther and Hastie 2001). There are four kinds of graphs without structure:
the same pairs shuffled; tasks that are alike by one common factor only, which each has more or less of, with the rest
shuffled; and Gaussian points whose spread in each direction is that of the tasks, with the tasks' distances taken for
distances, and for squared ones, which they are where the affinity is a correlation.

The statistic is the largest number of standard deviations, over the numbers of groups, by which a silhouette is above
those of graphs without structure. There is structure where it is beyond what these graphs have among themselves, their
mean and some standard deviations, for all kinds.

Measured on 20 tasks: six planted groups of 1 to 5 tasks with a silhouette of 0.59 are found in 95 % of 100 draws, where
the modularity, which version 0.1 compared, found them in 25 %; a continuum of three factors is taken for structure in
about 4 %, one common factor in 1 %, shuffled pairs and Gaussian points in 0 to 3 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from stg_ray.artifacts.evidence import Structure
from stg_ray.grouping.clusterers.kmeans import classical_scaling
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph, default_neighbours, local_scaling, seen_from_centre
from stg_ray.grouping.silhouette import silhouettes
from stg_ray.grouping.threads import in_threads
from stg_ray.seeds import Stream, generator

N_NULL, N_NULL_OF_MANY = 40, 10
"""Graphs without structure, of each kind; of more than `MANY` tasks, which take longer and differ less by chance."""

MANY = 200

NUMBERS_OF_MANY = 12
"""Numbers of groups that are tried of more than `MANY` tasks, spread evenly in logarithms."""

DEVIATIONS, OF_SQUARED = 3.0, 2.5
"""Standard deviations above the mean of graphs without structure, from which on there is structure. Squared distances
of Gaussian points have much of the spread of the groups themselves: at three, planted groups were found in 87 %."""

LEAST_DEVIATION = 1e-3
"""Of the silhouettes of graphs without structure: a smaller one is a chance of the draws."""

Draw = Callable[[np.random.Generator], TaskGraph]
"""Draws a graph without structure."""


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
    n_null = N_NULL
    if len(graph.affinity) > MANY:
        n_null = N_NULL_OF_MANY
        numbers = np.unique(np.geomspace(min(numbers), max(numbers), NUMBERS_OF_MANY).round().astype(int)).tolist()
    of_tasks = _silhouettes_of(graph, numbers)
    spread, of_root = (classical_scaling(d).std(axis=0) for d in (graph.given_distance, np.sqrt(graph.given_distance)))
    draws: list[tuple[Draw, float]] = [
        (graph.permuted, DEVIATIONS),
        (partial(_common_factor, graph), DEVIATIONS),
        (partial(_gaussian, graph, spread), DEVIATIONS),
        (partial(_gaussian_squared, graph, of_root), OF_SQUARED),
    ]
    comparisons = []
    for draw, beyond in draws:

        def of_draw(own: np.random.Generator, draw: Draw = draw) -> np.ndarray:
            return _silhouettes_of(draw(own), numbers)

        values = np.array(in_threads(of_draw, rng.spawn(n_null), n_tasks=len(graph.affinity)))
        # Each null graph is compared with the others, as the tasks' graph is with all of them.
        among = np.array([deviations(values[i], np.delete(values, i, axis=0)) for i in range(n_null)])
        threshold = among.mean() + beyond * among.std(ddof=1)
        comparisons.append(Structure(deviations(of_tasks, values), float(threshold), "deviations"))
    return min(comparisons, key=lambda structure: structure.excess - structure.threshold)


def deviations(values: np.ndarray, null: np.ndarray) -> float:
    """Return the largest number of standard deviations by which values (n,) are above the mean of others (N, n)."""
    return float(((values - null.mean(axis=0)) / np.maximum(null.std(axis=0, ddof=1), LEAST_DEVIATION)).max())


def _silhouettes_of(graph: TaskGraph, numbers: Sequence[int]) -> np.ndarray:
    return np.array(silhouettes(graph, Spectral().memberships(graph, numbers)))


def _gaussian(graph: TaskGraph, spread: np.ndarray, rng: np.random.Generator) -> TaskGraph:
    """Draw a graph of as many Gaussian points with this spread in each direction."""
    distance = np.sqrt(_squared_distances(len(graph.affinity), spread, rng))
    seen = seen_from_centre(distance)
    return TaskGraph(local_scaling(seen), seen, distance, graph.neighbours)


def _gaussian_squared(graph: TaskGraph, spread: np.ndarray, rng: np.random.Generator) -> TaskGraph:
    """Draw a graph whose distances are the squared distances of Gaussian points."""
    distance = _squared_distances(len(graph.affinity), spread, rng)
    return TaskGraph(local_scaling(distance), distance, distance, graph.neighbours)


def _squared_distances(n_tasks: int, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cloud = rng.normal(size=(n_tasks, len(spread))) * spread
    squared = np.square(cloud).sum(axis=1)
    distances: np.ndarray = np.maximum(squared[:, None] + squared - 2 * cloud @ cloud.T, 0)
    np.fill_diagonal(distances, 0)
    return distances


def _common_factor(graph: TaskGraph, rng: np.random.Generator) -> TaskGraph:
    """Draw a graph whose nearness, the largest distance minus a pair's, is h_a h_b and shuffled residuals."""
    upper = np.triu_indices(len(graph.distance), 1)
    largest = graph.distance[upper].max()
    nearness = largest - graph.distance
    np.fill_diagonal(nearness, 0)
    h = one_factor(nearness)
    residuals = (nearness - np.outer(h, h))[upper]
    drawn = np.zeros_like(nearness)
    drawn[upper] = largest - np.outer(h, h)[upper] - residuals[rng.permutation(len(residuals))]
    distance = np.maximum(drawn + drawn.T, 0)
    return TaskGraph(local_scaling(distance), distance, distance, graph.neighbours)


def one_factor(nearness: np.ndarray, iterations: int = 50) -> np.ndarray:
    """Return h (K,), at least 0, such that h_a h_b is near to the off-diagonal values of a matrix (K, K).

    Each h_a is fitted by least squares to the others (the minres factor analysis of Harman and Jones 1966), halfway in
    logarithms at a time, so that it does not swing.

    Args:
        nearness: at least 0, 0 on the diagonal.
        iterations: after so many it no longer moves.
    """
    h: np.ndarray = np.sqrt(np.maximum(nearness.mean(axis=1), 1e-12))
    for _ in range(iterations):
        fitted = (nearness @ h) / np.maximum(h @ h - h * h, 1e-12)
        h = np.sqrt(h * np.maximum(fitted, 1e-12))
    return h
