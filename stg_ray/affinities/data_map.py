"""Distance of tasks by their data maps (Sherif et al., STG-MTL, arXiv 2307.03374).

d(a, b)^2 = mean over samples labelled for both, and over snapshots, of (mu_ia - mu_ib)^2 + (s_ia - s_ib)^2, with mu the
mean confidence and s the variability of sample i. Only K x K sums leave a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Estimator, Partial, ratio_of_sums
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data_maps.state import DataMapState, pair_sums


class DataMapDistance(Estimator):
    """From the states that the profile stage left, by part and snapshot."""

    kind: ClassVar[Kind] = "distance"
    about: ClassVar[str] = (
        "Distance of the tasks' data maps: small where the same samples are easy and the same are hard for both."
    )

    def partial(self, number: int) -> Partial:
        states = self.source.states(number)
        squared, count = pair_sums(states)
        return {"squared": squared, "count": count, "samples": np.array(len(states[0].count))}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        squared, squared_error, samples = ratio_of_sums(partials, "squared", "count")
        distance = np.sqrt(squared)
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.where(distance > 0, squared_error / (2 * distance), 0)  # d sqrt(x) = dx / (2 sqrt(x))
        return TaskMatrix(tuple(tasks), distance, cls.kind, samples=samples), np.where(
            np.isnan(distance), np.nan, error
        )


def data_map_distance(states: Sequence[DataMapState], tasks: Sequence[str] | None = None) -> TaskMatrix:
    """The distances of tasks from data maps in memory.

    Args:
        states: of the same samples at each snapshot.
        tasks: K names; task_0, ... if not given.
    """
    squared, count = pair_sums(states)
    names = tasks or [f"task_{t}" for t in range(len(count))]
    sums = {"squared": squared, "count": count, "samples": np.array(len(states[0].count))}
    return DataMapDistance.combine([sums], names)[0]
