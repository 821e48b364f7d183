"""Tasks on scikit-learn's digits for the calibration of the verdict: 2, 15 or 100 of them."""

from __future__ import annotations

import numpy as np

import stg_ray as sr


def two() -> sr.TaskSet:
    """Odd digits, and those of at least five."""
    return _tasks([[1, 3, 5, 7, 9], [5, 6, 7, 8, 9]])


def hundred() -> sr.TaskSet:
    """A hundred different sets of one to five digits, each against the rest."""
    rng = np.random.default_rng(8)
    sets: list[list[int]] = []
    while len(sets) < 100:
        members = sorted(rng.permutation(10)[: rng.integers(1, 6)].tolist())
        if members not in sets:
            sets.append(members)
    return _tasks(sets)


def _tasks(sets: list[list[int]]) -> sr.TaskSet:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = np.stack([np.isin(bunch.target, members) for members in sets], axis=1).astype(np.int8)
    return sr.TaskSet.from_arrays(images, labels, names=[" ".join(map(str, members)) for members in sets], seed=0)
