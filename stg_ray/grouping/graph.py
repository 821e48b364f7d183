"""The task graph: one symmetric affinity, and one distance, from one or several K x K matrices.

Each matrix is made a distance, then an affinity by local scaling (Zelnik-Manor and Perona 2004), so that matrices of
different units can be added.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError

CACHED = 2**16
"""Values of a matrix that are worked on at a time."""


@dataclass(frozen=True)
class TaskGraph:
    """K tasks as a graph.

    Attributes:
        affinity: (K, K) symmetric, in [0, 1], 0 on the diagonal and where there is no value.
        distance: (K, K) symmetric, 0 on the diagonal; pairs without a value have the largest one.
        squared: (K, K) squared distances above those of the nearest pair: what all pairs have in common is noise that
            each task has for itself. An affinity is minus such a square.
        given: (K, K) squared distances as they were given, before they were `seen_from_centre`.
        kinds: of the matrices: affinities, distances or both.
        neighbours: how many of a task's most alike tasks it has edges to; None for all.

    Example:
        >>> import numpy as np
        >>> alike = np.array([[1.0, 0.9, 0.6, 0.1], [0.9, 1.0, 0.1, 0.2], [0.6, 0.1, 1.0, 0.3], [0.1, 0.2, 0.3, 1.0]])
        >>> graph = task_graph([TaskMatrix(("cat", "dog", "car", "bus"), alike, "affinity")], neighbours=1)
        >>> (graph.edges > 0).sum(axis=1).tolist()  # a chain: dog, cat, car, bus
        [2, 1, 2, 1]
    """

    affinity: np.ndarray
    distance: np.ndarray
    squared: np.ndarray
    given: np.ndarray
    kinds: frozenset[str] = frozenset({"affinity"})
    neighbours: int | None = None

    @property
    def dissimilarity(self) -> np.ndarray:
        """(K, K) 1 - affinity, 0 on the diagonal."""
        values: np.ndarray = 1 - self.affinity
        np.fill_diagonal(values, 0)
        return values

    @property
    def edges(self) -> np.ndarray:
        """(K, K) affinities of the pairs of which one at least is among the other's nearest; 0 for all others."""
        if self.neighbours is None or self.neighbours >= len(self.affinity) - 1:
            return self.affinity
        # Equally near tasks are all neighbours, or the order of the tasks would decide.
        at = len(self.affinity) - self.neighbours
        least = np.partition(self.affinity, at, axis=1)[:, at]
        near = self.affinity >= least[:, None]
        return np.where(near | near.T, self.affinity, 0)


def task_graph(
    matrices: Sequence[TaskMatrix], weights: Mapping[int, float] | None = None, neighbours: int | None = None
) -> TaskGraph:
    """Combine matrices to one graph.

    Its affinity is the weighted mean of locally scaled affinities, its distance that of distances in units of their own
    mean; for each pair over the matrices that have a value for it.

    Args:
        matrices: at least one, of the same tasks; directed ones are symmetrised.
        weights: weight of each matrix by its position; 1 where not given, 0 leaves it out.
        neighbours: of the graph's edges; None for all pairs.

    Raises:
        InputError: the matrices name different tasks, a value is infinite, or no pair has a value.

    Example:
        >>> import numpy as np
        >>> values = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
        >>> graph = task_graph([TaskMatrix(("cat", "dog", "car"), values, "affinity")])
        >>> bool(graph.affinity[0, 1] > graph.affinity[0, 2])
        True
    """
    tasks = matrices[0].tasks
    n_tasks = len(tasks)
    affinity, distance, squared, given, total = np.zeros((5, n_tasks, n_tasks))
    for position, matrix in enumerate(matrices):
        if matrix.tasks != tasks:
            raise InputError("the affinities to be combined name different tasks, or in a different order")
        weight = 1.0 if weights is None else weights.get(position, 1.0)
        views = _views(matrix)
        np.add(total, weight, out=total, where=next(views))
        for mean, values in zip((affinity, distance, squared, given), views, strict=True):
            values *= weight
            mean += values
            del values  # before the next one is made: of many tasks it is most of the memory
    known = total > 0
    if np.count_nonzero(known) <= np.count_nonzero(np.diag(known)):
        raise InputError("no pair of tasks has a value in the affinities: there is nothing to group by")
    for mean in (affinity, distance, squared, given):
        np.divide(mean, total, out=mean, where=known)
    if not known.all():
        affinity[~known] = 0
        for mean in (distance, squared, given):
            mean[~known] = mean.max(where=known, initial=0)
    kinds = frozenset(matrix.kind for matrix in matrices)
    return TaskGraph(affinity, distance, squared, given, kinds, neighbours)


def _views(matrix: TaskMatrix) -> Iterator[np.ndarray]:
    """Make which pairs of a matrix have a value, and its part in each array of a `TaskGraph`, one (K, K) at a time."""
    own = as_distance(matrix)
    is_distance = matrix.kind == "distance"
    seen = seen_from_centre(own) if is_distance else own
    yield np.isfinite(seen)
    yield local_scaling(seen)
    yield _in_units_of_mean(seen)
    yield _in_units_of_mean(above_nearest(np.square(seen)) if is_distance else seen)
    yield _in_units_of_mean(np.square(own) if is_distance else own)


def above_nearest(squared: np.ndarray) -> np.ndarray:
    """Subtract from squared distances (K, K) that of the nearest pair, in place; the diagonal stays 0."""
    np.fill_diagonal(squared, np.nan)
    if np.isfinite(squared).any():
        squared -= np.nanmin(squared)
    np.fill_diagonal(squared, 0)
    return squared


def _in_units_of_mean(distance: np.ndarray) -> np.ndarray:
    """Divide distances by their mean over pairs; pairs without a value become 0."""
    present = np.isfinite(distance)
    n_pairs = np.count_nonzero(present) - len(distance)  # in both directions, without the diagonal, which is 0
    unit = distance.sum(where=present) / n_pairs if n_pairs > 0 else 0.0
    scaled: np.ndarray = np.where(present, distance, 0)
    scaled /= unit if unit > 0 else 1.0
    return scaled


def default_neighbours(n_tasks: int) -> int:
    """Return the number of neighbours that a task has by default: ln K, rounded down, but at least 4.

    About ln K keeps a graph of nearest neighbours connected (von Luxburg 2007, section 8.2). On CIFAR-100's data maps
    and landscape together, 4 neighbours gave the super-classes best (mean adjusted Rand index of six runs 0.41; with 3
    or 5 of them 0.39, with 8 or 12 below 0.34): more edges, most of them between groups, drown those within.
    """
    return max(4, math.floor(math.log(n_tasks)))


def as_distance(matrix: TaskMatrix) -> np.ndarray:
    """Return the symmetric distances (K, K) of a matrix.

    An affinity becomes its largest off-diagonal value minus itself. Pairs without a value stay NaN; where only one
    direction has a value, it counts.

    Raises:
        InputError: a value is infinite.
    """
    values = np.asarray(matrix.values, dtype=np.float64)
    if np.isinf(values).any():
        raise InputError("the matrix has infinite values: a pair without a value must be NaN")
    symmetric: np.ndarray = values + values.T
    symmetric /= 2
    if np.isnan(symmetric).any():
        symmetric = np.where(np.isnan(values), values.T, np.where(np.isnan(values.T), values, symmetric))
    if matrix.kind == "affinity":
        np.fill_diagonal(symmetric, np.nan)
        if np.isfinite(symmetric).any():
            symmetric = np.nanmax(symmetric) - symmetric
    np.fill_diagonal(symmetric, 0)
    return symmetric


def seen_from_centre(distance: np.ndarray) -> np.ndarray:
    """Return the distances (K, K) of the directions in which the tasks lie from their centre: sqrt(2 - 2 cosine).

    Distances between tasks have a part that says little of which are alike: how far a task is from all others, because
    it is hard or its labels are rare. The cosines follow from the distances alone, by the Gram matrix of the centred
    points, -1/2 J D^2 J (Torgerson 1952). Pairs without a value stay NaN, and are left out of the means.

    On CIFAR-100 (three trainings) it took the agreement of spectral groups with the super-classes from an adjusted
    Rand index of 0.28 to 0.36 for data maps, from 0.39 to 0.41 for data maps and landscape; of k-means on data maps
    from 0.07 to 0.32.
    """
    n_tasks, result = len(distance), np.empty_like(distance)
    mean, present = np.empty((2, n_tasks))
    for rows in _blocks(n_tasks):
        squared = np.square(distance[rows])
        known = np.isfinite(squared)
        present[rows] = known.sum(axis=1)
        mean[rows] = squared.sum(axis=1, where=known) / present[rows]
    of_all = mean.mean()
    norm = np.sqrt(np.maximum(mean - 0.5 * of_all, 0))  # the Gram matrix's diagonal, where distances are 0
    at_centre = norm <= 1e-9 * max(norm.max(), 1e-300)
    for rows in _blocks(n_tasks):
        squared = np.square(distance[rows])
        gram = -0.5 * (squared - (mean[rows, None] + mean) + of_all)
        with np.errstate(invalid="ignore", divide="ignore"):
            gram /= np.outer(norm[rows], norm)
        if at_centre.any():  # a task at the centre has no direction: it is as far from all others
            gram[np.logical_or.outer(at_centre[rows], at_centre) & np.isfinite(squared)] = 0
        np.sqrt(np.clip(2 - 2 * gram, 0, 4), out=result[rows])
        result[rows][squared == 0] = 0
    return result


def local_scaling(distance: np.ndarray) -> np.ndarray:
    """Return the affinities (K, K) of distances: exp(-d_ab^2 / (sigma_a sigma_b)), with sigma the distance to the
    min(7, K // 2)-th neighbour (Zelnik-Manor and Perona 2004).

    Pairs whose distance is NaN, and the diagonal, are 0.
    """
    n_tasks, scaled = len(distance), np.empty_like(distance)
    neighbour = min(7, max(1, n_tasks // 2))
    at = min(neighbour, n_tasks - 1) - 1
    sigma, largest = np.empty(n_tasks, distance.dtype), -np.inf
    for rows in _blocks(n_tasks):
        others = _others(distance, rows)
        sigma[rows] = np.partition(others, at, axis=1)[:, at]
        largest = max(largest, float(others.max(where=np.isfinite(others), initial=-np.inf)))
    if largest < 0:  # there is no pair
        return np.zeros_like(distance)
    # A task with few neighbours has no such distance, identical tasks have 0: both must leave a usable scale.
    sigma = np.where(np.isfinite(sigma), sigma, largest)
    sigma = np.maximum(sigma, 1e-9 * largest if largest > 0 else 1.0)
    for rows in _blocks(n_tasks):
        np.exp(-np.square(_others(distance, rows)) / np.outer(sigma[rows], sigma), out=scaled[rows])
    return scaled


def _others(distance: np.ndarray, rows: slice) -> np.ndarray:
    """Return rows of distances, infinite where there is no value and to the task itself."""
    others = np.where(np.isnan(distance[rows]), np.inf, distance[rows])
    np.fill_diagonal(others[:, rows], np.inf)
    return others


def _blocks(n_tasks: int) -> Iterator[slice]:
    """Divide the rows of a matrix (K, K) into blocks whose intermediate results stay in the processor's cache."""
    size = max(1, CACHED // n_tasks)
    return (slice(first, min(first + size, n_tasks)) for first in range(0, n_tasks, size))
