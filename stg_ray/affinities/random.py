"""Affinities by chance: what groups are worth that know nothing of the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.seeds import Stream, generator


class RandomAffinity(Estimator):
    """Independent uniform values for each pair of tasks, drawn by the run's seed."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = "Random values, for comparison."

    @classmethod
    def n_units(cls, source: Source) -> int:
        return 1

    def partial(self, number: int) -> Partial:
        values = generator(Stream.RANDOM_AFFINITY, self.source.seed).random((len(self.source.index.tasks),) * 2)
        upper = np.triu(values, 1)
        return {"values": upper + upper.T + np.eye(len(values)), "samples": np.array(0)}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        (partial,) = partials
        values = partial["values"]
        return TaskMatrix(tuple(tasks), values, cls.kind, samples=0), np.full_like(values, np.nan)
