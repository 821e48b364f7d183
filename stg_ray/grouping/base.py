"""What a clusterer of tasks is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from stg_ray.grouping.graph import TaskGraph


class Clusterer(ABC):
    """Groups the tasks of a graph; `fit` leaves `labels_` (K,)."""

    labels_: np.ndarray

    def __init__(self, n_groups: int = 2, *, seed: int = 0) -> None:
        self.n_groups = n_groups
        self.seed = seed

    def fit(self, graph: TaskGraph) -> Clusterer:
        (self.labels_,) = self.labels_for(graph, [self.n_groups])
        return self

    @abstractmethod
    def labels_for(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Labels (K,) for each number of groups; what they share is computed once."""
