"""Certainty of groups: the tasks are grouped again by data that other samples might have given."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from scipy.optimize import linear_sum_assignment

from stg_ray.grouping.clusterers.base import Clusterer, Data
from stg_ray.grouping.threads import in_threads


def certainty(labels: np.ndarray, clusterer: Clusterer[Data], resamples: Sequence[Data]) -> np.ndarray:
    """Return the share of the resamples in which each task stays in its group.

    A group of a resample is the group here that shares most tasks with it, one to one (Kuhn 1955).

    Args:
        labels: (K,) groups of the tasks.
        clusterer: by which they were made.
        resamples: data from other samples (see `resamples.py`).

    Returns:
        (K,) shares.
    """

    def stays(number: int) -> np.ndarray:
        other = copy(clusterer).fit(resamples[number]).labels_
        common = np.eye(labels.max() + 1)[labels].T @ np.eye(other.max() + 1)[other]
        here, there = linear_sum_assignment(common, maximize=True)
        partner = np.full(other.max() + 1, -1)
        partner[there] = here
        same: np.ndarray = partner[other] == labels
        return same

    shares: np.ndarray = np.mean(in_threads(stays, range(len(resamples)), n_tasks=len(labels)), axis=0)
    return shares
