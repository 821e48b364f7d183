"""Resampled parts: what is drawn is what the estimator makes of these parts, and its spread is the standard error."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.affinities.base import Partial
from stg_ray.affinities.data_map import DataMapDistance
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.resampling import MAX_BLOCKS, N_RESAMPLES, Blocks

NAMES = ("a", "b", "c")


def parts(n_parts: int, seed: int = 0) -> list[Partial]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_parts):
        total = np.triu(rng.gamma(50, size=(3, 3)), 1)
        found.append({"total": total + total.T, "count": np.full((3, 3), 10.0), "samples": np.array(10)})
    return found


def test_a_resampling_is_the_affinity_of_the_parts_that_were_drawn() -> None:
    blocks, some = Blocks(), parts(4)
    whole = LandscapeDistance.combine(blocks.of(some), NAMES)[0]
    assert np.array_equal(whole.values, LandscapeDistance.combine(some, NAMES)[0].values)
    resampled = blocks.resampled(LandscapeDistance, NAMES, 0)
    assert resampled is not None
    assert resampled.shape == (N_RESAMPLES, 3, 3)
    every = np.array(np.meshgrid(*[range(4)] * 3)).reshape(3, -1).T
    possible = [LandscapeDistance.combine([some[p] for p in drawn], NAMES)[0].values for drawn in every]
    for own in resampled:
        assert min(np.abs(own - other).max() for other in possible) < 1e-5


def test_many_parts_become_a_few_blocks_that_hold_all_of_them() -> None:
    blocks, some = Blocks(), parts(3 * MAX_BLOCKS + 1)
    assert len(list(blocks.of(some))) == len(some)
    assert len(blocks.sums) == MAX_BLOCKS
    assert sum(block["samples"] for block in blocks.sums) == 10 * len(some)


def test_their_spread_is_the_standard_error() -> None:
    spread, errors = [], []
    for seed in range(30):
        blocks = Blocks()
        errors.append(LandscapeDistance.combine(blocks.of(parts(6, seed)), NAMES)[1][0, 1] ** 2)
        resampled = blocks.resampled(LandscapeDistance, NAMES, seed)
        assert resampled is not None
        spread.append(resampled[:, 0, 1].var(ddof=1))
    assert np.mean(spread) == pytest.approx(np.mean(errors), rel=0.2)


def test_one_part_has_nothing_to_draw_from() -> None:
    blocks = Blocks()
    list(blocks.of(parts(1)))
    assert blocks.resampled(DataMapDistance, NAMES, 0) is None
