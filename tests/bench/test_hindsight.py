"""Gain to be had from a choice of groups, as a benchmark estimates it: planted gains, and none."""

from __future__ import annotations

import itertools

import numpy as np

from jobs.bench import hindsight as bench

SIZES = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])


def draws(effect: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """200 random groupings of nine tasks; each task gains `effect` from each other of its planted group of three."""
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.permutation(SIZES) for _ in range(200)])
    alike = SIZES[:, None] == SIZES
    np.fill_diagonal(alike, False)
    together = labels[:, :, None] == labels[:, None, :]
    return effect * (together & alike).sum(axis=2) + 0.01 * rng.normal(size=labels.shape), labels


def test_planted_gains_are_found_and_none_where_there_are_none() -> None:
    # The best groups have both tasks that a task gains from; by chance 2 of the 8 others are in its group.
    planted = [bench.hindsight(*draws(0.02, seed)) for seed in range(3)]
    np.testing.assert_allclose(planted, 0.02 * (2 - 2 * 2 / 8), rtol=0.15)
    nothing = [bench.hindsight(*draws(0.0, seed)) for seed in range(10)]
    assert abs(np.mean(nothing)) < 0.001, "what is fitted by chance is no gain"


def test_the_best_groups_are_those_of_a_search_of_all() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2])
    every = set(itertools.permutations(labels.tolist()))
    for seed in range(5):
        effects = np.random.default_rng(seed).normal(size=(7, 7))
        np.fill_diagonal(effects, 0)
        found = bench.best_groups(effects, labels)
        assert np.bincount(found).tolist() == [3, 3, 1]
        best = max(bench.worth(effects, np.array(groups)) for groups in every)
        np.testing.assert_allclose(bench.worth(effects, found), best)
