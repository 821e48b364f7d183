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

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from scipy.linalg import eigvalsh

from stg_ray.artifacts.evidence import Structure
from stg_ray.grouping.clusterers.kmeans import centred_gram
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

CLEARLY = 5
"""Thresholds from which on half as many graphs without structure of more than `MANY` tasks are enough."""

Draw = Callable[[np.random.Generator], np.ndarray]
"""Draws the affinities (K, K) of a graph without structure."""


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
    draws = _draws(graph)
    comparisons = []
    for draw, beyond in draws:

        def of_draw(own: np.random.Generator, draw: Draw = draw) -> np.ndarray:
            return _silhouettes_of(replace(graph, affinity=draw(own)), numbers)

        drawn: list[np.ndarray] = []
        generators = rng.spawn(n_null)
        for some in (generators[: n_null // 2], generators[n_null // 2 :]):
            drawn += in_threads(of_draw, some, n_tasks=len(graph.affinity))
            structure = _compare(of_tasks, np.array(drawn), beyond)
            if len(graph.affinity) > MANY and structure.excess > CLEARLY * max(structure.threshold, beyond):
                break
        comparisons.append(structure)
    return min(comparisons, key=lambda structure: structure.excess - structure.threshold)


def _draws(graph: TaskGraph) -> list[tuple[Draw, float]]:
    """Return what draws each kind of graphs without structure, with the deviations that are beyond it."""
    # Of many tasks most of the time is that of memory, and a draw needs no more digits.
    dtype = np.float32 if len(graph.affinity) > MANY else np.float64
    both = (graph.given_distance, np.sqrt(graph.given_distance))
    spread, of_root = in_threads(_spread, both, n_tasks=len(graph.affinity))
    pairs = graph.affinity[np.triu_indices(len(graph.affinity), 1)]
    common, residuals = _common_and_residuals(graph)
    return [
        (partial(_shuffled, pairs.astype(dtype)), DEVIATIONS),
        (partial(_common_factor, common.astype(dtype), residuals.astype(dtype)), DEVIATIONS),
        (partial(_gaussian, spread, len(graph.affinity), dtype), DEVIATIONS),
        (partial(_gaussian_squared, of_root, len(graph.affinity), dtype), OF_SQUARED),
    ]


def _compare(of_tasks: np.ndarray, values: np.ndarray, beyond: float) -> Structure:
    """Compare silhouettes (n,) with those of N graphs without structure, (N, n).

    Each of these is compared with the others, as the tasks' graph is with all of them.
    """
    among = np.array([deviations(values[i], np.delete(values, i, axis=0)) for i in range(len(values))])
    threshold = among.mean() + beyond * among.std(ddof=1)
    return Structure(deviations(of_tasks, values), float(threshold), "deviations")


def deviations(values: np.ndarray, null: np.ndarray) -> float:
    """Return the largest number of standard deviations by which values (n,) are above the mean of others (N, n)."""
    return float(((values - null.mean(axis=0)) / np.maximum(null.std(axis=0, ddof=1), LEAST_DEVIATION)).max())


def _silhouettes_of(graph: TaskGraph, numbers: Sequence[int]) -> np.ndarray:
    return np.array(silhouettes(graph, Spectral().memberships(graph, numbers)))


def _spread(distance: np.ndarray) -> np.ndarray:
    """Return the standard deviations of tasks with these distances (K, K) along their principal axes.

    They are those of classical scaling (Torgerson 1952): eigenvectors times the roots of the eigenvalues.
    """
    values = eigvalsh(centred_gram(distance))
    kept = values[values > 1e-12 * max(values.max(), 1e-300)]
    return np.sqrt(kept / len(distance)) if len(kept) else np.zeros(1)


def _gaussian(spread: np.ndarray, n_tasks: int, dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Draw affinities of Gaussian points with this spread in each direction."""
    squared = _squared_distances(spread, n_tasks, dtype, rng)
    return local_scaling(seen_from_centre(np.sqrt(squared, out=squared)))


def _gaussian_squared(spread: np.ndarray, n_tasks: int, dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Draw affinities of Gaussian points, from their squared distances."""
    return local_scaling(_squared_distances(spread, n_tasks, dtype, rng))


def _squared_distances(spread: np.ndarray, n_tasks: int, dtype: type, rng: np.random.Generator) -> np.ndarray:
    cloud = (rng.normal(size=(n_tasks, len(spread))) * spread).astype(dtype)
    squared = np.square(cloud).sum(axis=1)
    distances: np.ndarray = cloud @ cloud.T
    distances *= -2
    distances += squared[:, None] + squared
    np.maximum(distances, 0, out=distances)
    np.fill_diagonal(distances, 0)
    return distances


def _shuffled(pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw affinities with the pairs shuffled: as many strong edges, but no structure."""
    return _of_pairs(rng.permutation(pairs))


def _common_and_residuals(graph: TaskGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of all pairs by one common factor, and what is left of them.

    A pair's nearness, the largest distance minus its own, is h_a h_b and a residual.
    """
    upper = np.triu_indices(len(graph.distance), 1)
    largest = graph.distance[upper].max()
    nearness = largest - graph.distance
    np.fill_diagonal(nearness, 0)
    h = one_factor(nearness)
    common = np.outer(h, h)[upper]
    return largest - common, nearness[upper] - common


def _common_factor(common: np.ndarray, residuals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw affinities from the distances by one common factor, with the residuals shuffled."""
    return local_scaling(_of_pairs(np.maximum(common - rng.permutation(residuals), 0)))


def _of_pairs(values: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix (K, K) of the values of its pairs, with 0 on its diagonal."""
    n_tasks = (1 + math.isqrt(1 + 8 * len(values))) // 2
    matrix = np.zeros((n_tasks, n_tasks), values.dtype)
    matrix[np.triu_indices(n_tasks, 1)] = values
    matrix += matrix.T
    return matrix


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
