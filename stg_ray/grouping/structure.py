"""A test for structure among the tasks.

Any cloud of points can be cut into pieces, and any matrix into blocks. So the groups that spectral clustering makes of
the tasks, for each number of groups, are compared with those that it makes where there is no structure, as the gap
statistic does with the spread (Tibshirani, Walther and Hastie 2001). There are three kinds of tasks without structure:
Gaussian points whose spread in each direction is that of the tasks, seen from their centre where distances are; tasks
that are alike by one common factor only, which each has more or less of, with the rest shuffled; and all pairs
shuffled.

Groups are scored by -log(1 - s), with s their mean silhouette (Rousseeuw 1987) on squared distances: 1 - s is how much
nearer a task is to its own group than to the next, and the logarithm tells tight groups from a cloud that is long in
one direction, which can be cut into halves of a good silhouette as well. Of squared distances that of the nearest pair
is taken away (`TaskGraph.squared`): it is noise that each task has for itself, which would hide the groups, and which
no direction of a cloud could hold.

The statistic is the largest number of standard deviations, over the numbers of groups, by which a score is above those
without structure. There is structure where it is beyond what these have among themselves, their mean and some standard
deviations, for all kinds.

Measured on 20 tasks (jobs/bench/structure.py, 40 draws): two groups whose tasks correlate by 0.7 are found in 97 to
100 % of draws, by 0.26 in 42 to 88 %, three groups in all; groups as those of 20 Newsgroups in 95 % or more by
correlations, in 10 % by distances. A continuum of several factors is taken for structure in at most 5 %, one common
factor and nothing never. Of ten tasks two groups that correlate by 0.7 are found in 68 to 82 %, by 0.26 in 0 to 30 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy.linalg import eigvalsh

from stg_ray.artifacts.evidence import Structure
from stg_ray.grouping.clusterers.kmeans import centred_gram
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph, above_nearest, default_neighbours, local_scaling, seen_from_centre
from stg_ray.grouping.silhouette import silhouettes
from stg_ray.grouping.threads import in_threads
from stg_ray.seeds import Stream, generator

DRAWS, DRAWS_OF_MANY = (40, 100), (5, 20)
"""Tasks without structure of each kind: first, and where these leave it open. Of more than `MANY`, which take longer,
fewer: they differ less by chance."""

CLEARLY, CLEARLY_OF_MANY = 1.5, 5.0
"""Thresholds above which, or one part of a threshold below which, the first draws are enough."""

MANY = 200

NUMBERS_OF_MANY = 12
"""Numbers of groups that are tried of more than `MANY` tasks, spread evenly in logarithms."""

DEVIATIONS = 3.5
"""Standard deviations above the mean of tasks without structure, from which on there is structure."""

LEAST_THRESHOLD = 1.0
"""No chance is smaller: where all draws have the same groups, they have no deviation to compare with."""

LEAST_DEVIATION = 1e-3
"""Of the scores of tasks without structure: a smaller one is a chance of the draws."""

LEAST_REST = 1e-3
"""Of 1 - s: groups that are tighter are as clear."""

Draw = Callable[[np.random.Generator], np.ndarray]
"""Draws the squared distances (K, K) of tasks without structure."""


def find_structure(graph: TaskGraph, numbers: Sequence[int], *, seed: int = 0) -> Structure:
    """Compare the tasks with tasks without structure.

    Args:
        graph: of the tasks.
        numbers: of groups that are tried.
        seed: of the draws without structure.
    """
    rng = generator(Stream.NULL_GRAPHS, seed)
    n_tasks = len(graph.squared)
    draws, clearly = (DRAWS, CLEARLY) if n_tasks <= MANY else (DRAWS_OF_MANY, CLEARLY_OF_MANY)
    if n_tasks > MANY:
        numbers = np.unique(np.geomspace(min(numbers), max(numbers), NUMBERS_OF_MANY).round().astype(int)).tolist()
    of_tasks = _scores(graph.squared, numbers)
    comparisons = []
    for draw in _draws_of(graph):

        def of_draw(own: np.random.Generator, draw: Draw = draw) -> np.ndarray:
            return _scores(draw(own), numbers)

        generators = rng.spawn(draws[-1])
        drawn = in_threads(of_draw, generators[: draws[0]], n_tasks=n_tasks)
        structure = _compare(of_tasks, np.array(drawn))
        if structure.threshold / clearly < structure.excess < structure.threshold * clearly:
            drawn += in_threads(of_draw, generators[draws[0] :], n_tasks=n_tasks)
            structure = _compare(of_tasks, np.array(drawn))
        comparisons.append(structure)
    return min(comparisons, key=lambda structure: structure.excess - structure.threshold)


def _draws_of(graph: TaskGraph) -> list[Draw]:
    """Return what draws each kind of tasks without structure."""
    squared, n_tasks = graph.squared, len(graph.squared)
    # Of many tasks most of the time is that of memory, and a draw needs no more digits.
    dtype = np.float32 if n_tasks > MANY else np.float64
    spreads = {"affinity": squared, "distance": graph.given}
    common, residuals = _common_and_residuals(squared)
    pairs = squared[np.triu_indices(n_tasks, 1)]
    return [
        *(partial(_gaussian, _spread(spreads[kind]), n_tasks, dtype, kind) for kind in sorted(graph.kinds)),
        partial(_common_factor, common.astype(dtype), residuals.astype(dtype)),
        partial(_shuffled, pairs.astype(dtype)),
    ]


def _compare(of_tasks: np.ndarray, values: np.ndarray) -> Structure:
    """Compare scores (n,) with those of N draws without structure, (N, n).

    Each of these is compared with the others, as the tasks are with all of them.
    """
    among = np.array([deviations(values[i], np.delete(values, i, axis=0)) for i in range(len(values))])
    threshold = max(float(among.mean() + DEVIATIONS * among.std(ddof=1)), LEAST_THRESHOLD)
    return Structure(deviations(of_tasks, values), threshold, "deviations")


def deviations(values: np.ndarray, null: np.ndarray) -> float:
    """Return the largest number of standard deviations by which values (n,) are above the mean of others (N, n)."""
    return float(((values - null.mean(axis=0)) / np.maximum(null.std(axis=0, ddof=1), LEAST_DEVIATION)).max())


def _scores(squared: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """Return the scores (n,) of the spectral groups, for each number of groups, of squared distances (K, K)."""
    # In a full graph most of the weight lies between groups, whatever they are: the nearest neighbours tell more.
    neighbours = default_neighbours(len(squared))
    graph = TaskGraph(local_scaling(squared), squared, squared, squared, neighbours=neighbours)
    rest = 1 - np.array(silhouettes(squared, Spectral().memberships(graph, numbers)))
    return np.asarray(-np.log(np.maximum(rest, LEAST_REST)))


def _spread(squared: np.ndarray) -> np.ndarray:
    """Return the standard deviations of tasks with these squared distances (K, K) along their principal axes.

    They are those of classical scaling (Torgerson 1952): eigenvectors times the roots of the eigenvalues.
    """
    values = eigvalsh(centred_gram(np.sqrt(squared)))
    kept = values[values > 1e-12 * max(values.max(), 1e-300)]
    return np.sqrt(kept / len(squared)) if len(kept) else np.zeros(1)


def _gaussian(spread: np.ndarray, n_tasks: int, dtype: type, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Draw squared distances of Gaussian points with this spread in each direction, seen as those of the tasks are."""
    cloud = (rng.normal(size=(n_tasks, len(spread))) * spread).astype(dtype)
    norms = np.square(cloud).sum(axis=1)
    squared: np.ndarray = cloud @ cloud.T
    squared *= -2
    squared += norms[:, None] + norms
    np.maximum(squared, 0, out=squared)
    np.fill_diagonal(squared, 0)
    if kind == "distance":
        squared = above_nearest(np.square(seen_from_centre(np.sqrt(squared, out=squared))))
    return squared


def _shuffled(pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw squared distances with the pairs shuffled: as many near ones, but no structure."""
    return _of_pairs(rng.permutation(pairs))


def _common_and_residuals(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the squared distances of all pairs by one common factor, and what is left of them.

    A pair's nearness, the largest square minus its own, is h_a h_b and a residual.
    """
    upper = np.triu_indices(len(squared), 1)
    largest = squared[upper].max()
    nearness = largest - squared
    np.fill_diagonal(nearness, 0)
    h = one_factor(nearness)
    common = np.outer(h, h)[upper]
    return largest - common, nearness[upper] - common


def _common_factor(common: np.ndarray, residuals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw squared distances by one common factor, with the residuals shuffled."""
    return _of_pairs(np.maximum(common - rng.permutation(residuals), 0))


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
