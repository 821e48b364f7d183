"""Distance of tasks by their data maps (Sherif et al., STG-MTL, arXiv 2307.03374).

d(a, b)^2 = mean over samples labelled for both, and over snapshots, of (mu_ia - mu_ib)^2 + (s_ia - s_ib)^2, with mu the
mean confidence and s the variability of sample i. Only K x K sums leave a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Estimator, Need, Partial, ratio_of_sums, task_names
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data_maps.state import DataMapState, names_of_tasks, pair_sums
from stg_ray.tasks import Task


class DataMapDistance(Estimator):
    """The distance of the data maps that the profile stage left, by part and snapshot."""

    needs: ClassVar[frozenset[Need]] = frozenset({"data_maps", "common_samples"})
    kind: ClassVar[Kind] = "distance"
    about: ClassVar[str] = (
        "Distance of the tasks' data maps: small where the same samples are easy and the same are hard for both."
    )

    def partial(self, number: int) -> Partial:
        """Compute `squared` and `count` (K, K) of a part, over all snapshots."""
        return _partial_of(self.source.states(number))

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the distances; their errors are those of the parts' mean squares, d sqrt(x) = dx / (2 sqrt(x))."""
        squared, squared_error, samples = ratio_of_sums(partials, "squared", "count")
        distance = np.sqrt(squared)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.where(distance > 0, squared_error / (2 * distance), 0)
        errors = np.where(np.isnan(distance), np.nan, error)
        return TaskMatrix(task_names(tasks), distance, cls.kind, samples=samples, errors=errors)


def _partial_of(states: Sequence[DataMapState]) -> Partial:
    squared, count = pair_sums(states)
    return {"squared": squared, "count": count, "samples": np.array(len(states[0].count))}


def data_map_distance(states: Sequence[DataMapState], tasks: Sequence[str] | None = None) -> TaskMatrix:
    """Compute the distances of K tasks from data maps in memory.

    Args:
        states: of the same samples at each snapshot.
        tasks: K names; task_0, ... if not given.

    Returns:
        The K x K matrix, without standard errors; NaN for tasks without common samples.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> confidences = np.array([[0.9, 0.8, 0.1], [0.2, 0.3, 0.7]], np.float32)  # two samples, three tasks
        >>> distances = sr.data_map_distance([sr.DataMapState.of_visit(confidences)], ["cat", "dog", "car"])
        >>> print(distances.values.round(1))
        [[0.  0.1 0.7]
         [0.1 0.  0.6]
         [0.7 0.6 0. ]]
    """
    names = names_of_tasks(states, tasks)
    squared, _, samples = ratio_of_sums([_partial_of(states)], "squared", "count")
    return TaskMatrix(names, np.sqrt(squared), DataMapDistance.kind, samples=samples)
