"""What a clusterer of tasks is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from stg_ray.grouping.graph import TaskGraph


class Clusterer(ABC):
    """Groups the tasks of a graph. `fit` leaves `membership_` (K, G), rows adding up to 1, and their arg max `labels_`
    (K,); G is smaller than `n_groups` where tasks cannot be told apart."""

    membership_: np.ndarray
    labels_: np.ndarray

    def __init__(self, n_groups: int = 2, *, seed: int = 0) -> None:
        self.n_groups = n_groups
        self.seed = seed

    def fit(self, graph: TaskGraph) -> Clusterer:
        (membership,) = self.memberships(graph, [self.n_groups])
        used = np.unique(membership.argmax(axis=1))
        self.membership_ = _rows_to_one(membership[:, used])
        self.labels_ = self.membership_.argmax(axis=1)
        return self

    @abstractmethod
    def memberships(self, graph: TaskGraph, numbers: Sequence[int]) -> list[np.ndarray]:
        """Memberships (K, n) for each number n of groups; what they share is computed once."""


def soft_membership(affinity: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, G) memberships from hard groups: each task's mean affinity to the groups' members, itself included with
    affinity 1, as shares.

    A task that is more alike to another group than to its own has its largest membership there: it moves.
    """
    groups = np.unique(labels)
    inside = (labels[:, None] == groups).astype(np.float64)
    mean = (affinity @ inside + inside) / inside.sum(axis=0)
    # Equally alike to two groups, a task stays where it is.
    return _rows_to_one(mean * (1 + 1e-9 * inside))


def fuzzy_membership(squared: np.ndarray, fuzziness: float) -> np.ndarray:
    """u_tc = 1 / sum_j (d_tc / d_tj)^(2 / (m - 1)) from squared distances (K, G) of tasks to centroids (Bezdek 1981).

    In logarithms: at the small fuzziness that data maps ask for, the powers overflow.
    """
    logits = -np.log(np.maximum(squared, 1e-300)) / (fuzziness - 1)
    return _rows_to_one(np.exp(logits - logits.max(axis=1, keepdims=True)))


def _rows_to_one(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)
