"""The base class of clusterers, and the memberships that several of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np

from stg_ray.grouping.clusterers.checked import checked_memberships

Data = TypeVar("Data")
"""Data of the tasks that a clusterer takes: a TaskGraph, or a PointHistogram."""


class Clusterer(ABC, Generic[Data]):
    """A clusterer of K tasks, in the manner of scikit-learn: settings in the constructor, results in `attribute_`.

    Args:
        n_groups: how many groups are made.
        seed: of random starts, where the method has any.

    Attributes:
        membership_: (K, G) membership of each task in each group after `fit`, rows adding up to 1. G is smaller than
            `n_groups` where tasks cannot be told apart.
        labels_: (K,) the group in which each task's membership is largest.
    """

    membership_: np.ndarray
    labels_: np.ndarray

    def __init__(self, n_groups: int = 2, *, seed: int = 0) -> None:
        self.n_groups = n_groups
        self.seed = seed

    def fit(self, data: Data) -> Self:
        """Group the tasks of a graph (or of the data that this clusterer takes) into `n_groups`.

        Raises:
            InputError: `memberships` returns something else than memberships, or fails, where it is the user's.
        """
        (membership,) = checked_memberships(self, data, [self.n_groups])
        used = np.unique(membership.argmax(axis=1))
        self.membership_ = _rows_to_one(membership[:, used])
        self.labels_ = self.membership_.argmax(axis=1)
        return self

    @abstractmethod
    def memberships(self, data: Data, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups.

        An array has fewer columns where fewer groups can be told apart. Whatever the numbers share is computed once.
        """


@dataclass(frozen=True)
class Clustering(Generic[Data]):
    """A clusterer with its data.

    Attributes:
        clusterer: its number of groups does not matter here.
        data: of the tasks.
        resamples: the same from other samples, as far as they are known; may be empty.
    """

    clusterer: Clusterer[Data]
    data: Data
    resamples: Sequence[Data] = ()

    def memberships(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return memberships (K, n) for each number n of groups."""
        return checked_memberships(self.clusterer, self.data, numbers)

    def memberships_of(self, number: int, numbers: Sequence[int]) -> list[np.ndarray]:
        """Return those of a resample, by its number."""
        return checked_memberships(self.clusterer, self.resamples[number], numbers)

    def fit(self, n_groups: int) -> Clusterer[Data]:
        """Return a fitted clusterer of so many groups."""
        clusterer = copy(self.clusterer)
        clusterer.n_groups = n_groups
        return clusterer.fit(self.data)


def soft_membership(affinity: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return memberships (K, G) for hard groups: each task's mean affinity to the groups' members, as shares.

    The task itself counts with affinity 1. A task that is more alike to another group than to its own has its largest
    membership there: it moves.

    Args:
        affinity: (K, K), 0 on the diagonal.
        labels: (K,) of any type.
    """
    groups = np.unique(labels)
    inside = (labels[:, None] == groups).astype(np.float64)
    mean = (affinity @ inside + inside) / inside.sum(axis=0)
    # Equally alike to two groups, a task stays where it is.
    return _rows_to_one(mean * (1 + 1e-9 * inside))


def fuzzy_membership(squared: np.ndarray, fuzziness: float) -> np.ndarray:
    """Return memberships u_tc = 1 / sum_j (d_tc / d_tj)^(2 / (m - 1)) (Bezdek 1981).

    They are computed in logarithms: at the small fuzziness that data maps ask for, the powers overflow.

    Args:
        squared: (K, G) squared distances d^2 of tasks to centroids.
        fuzziness: m, above 1.
    """
    logits = -np.log(np.maximum(squared, 1e-300)) / (fuzziness - 1)
    return _rows_to_one(np.exp(logits - logits.max(axis=1, keepdims=True)))


def _rows_to_one(values: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = values / values.sum(axis=1, keepdims=True)
    return scaled
