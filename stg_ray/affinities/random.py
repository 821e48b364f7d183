"""Random affinities: a baseline that ignores the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Estimator, Partial, without_errors
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task


class RandomAffinity(Estimator):
    """Independent uniform values for each pair of tasks, drawn by the run's seed."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = "Random values, for comparison."

    def partial(self, number: int) -> Partial:
        """Draw `values` (K, K), symmetric with ones on the diagonal."""
        del number  # there is one unit
        n_tasks = len(self.source.index.tasks)
        upper = np.triu(generator(Stream.RANDOM_AFFINITY, self.source.seed).random((n_tasks, n_tasks)), 1)
        return {"values": upper + upper.T + np.eye(n_tasks), "samples": np.array(0)}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Return the values; they have no standard errors (NaN)."""
        (partial,) = partials
        return without_errors(partial["values"], tasks, cls.kind)
