"""Estimates of how much tasks help one of them, from the affinities of a run: they say which are worth a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stg_ray.artifacts.task_matrix import TaskMatrix

ROW_HELPS = ("tag", "transfer_gain", "etap")
"""Affinities whose row is the task that helps, and whose column is the one that is helped."""


def estimated_help(matrices: Mapping[str, TaskMatrix], main: int) -> np.ndarray:
    """Return (K,) how much each task seems to help the main one: larger is more; -inf where nothing is known of it.

    It is the mean over the affinities, each in units of its standard deviation over the other tasks. Affinities that
    say who helps whom are read that way round; likeness counts as help.

    Args:
        matrices: of K tasks, by the names of the affinities.
        main: number of the main task.
    """
    scores = []
    for name, matrix in matrices.items():
        values = matrix.values[:, main] if name in ROW_HELPS else matrix.values[main]
        values = np.array(values if matrix.kind == "affinity" else -values, dtype=np.float64)
        values[main] = np.nan
        known = values[np.isfinite(values)]
        if len(known) and known.std() > 0:
            scores.append((values - known.mean()) / known.std())
    if not scores:
        return np.zeros(next(iter(matrices.values())).values.shape[0])
    stacked = np.stack(scores)
    counts = np.isfinite(stacked).sum(axis=0)
    sums = np.nan_to_num(stacked).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), -np.inf)
