"""Resampled parts: what is drawn is what the estimator makes of these parts, and its spread is the standard error."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.affinities.base import Partial
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.resampling import MAX_BLOCKS, BlockSums
from stg_ray.artifacts.evidence import n_resamples
from stg_ray.tasks import Task

TASKS = (Task("a"), Task("b"), Task("c"))


def parts(n_parts: int, seed: int = 0) -> list[Partial]:
    rng = np.random.default_rng(seed)
    partials = []
    for _ in range(n_parts):
        total = np.triu(rng.gamma(50, size=(3, 3)), 1)
        partials.append({"total": total + total.T, "count": np.full((3, 3), 10.0), "samples": np.array(10)})
    return partials


def blocks_of(partials: list[Partial]) -> BlockSums:
    blocks = BlockSums()
    for partial in partials:
        blocks.add(partial)
    return blocks


def test_a_resampling_is_the_affinity_of_the_parts_that_were_drawn() -> None:
    partials = parts(4)
    resampled = blocks_of(partials).resampled(LandscapeDistance, TASKS, 0)
    assert resampled is not None
    assert resampled.shape == (n_resamples(3), 3, 3)
    every = np.array(np.meshgrid(*[range(4)] * 3)).reshape(3, -1).T
    possible = [LandscapeDistance.combine([partials[p] for p in drawn], TASKS).values for drawn in every]
    for values in resampled:
        assert min(np.abs(values - other).max() for other in possible) < 1e-5


def test_parts_are_combined_while_they_are_added() -> None:
    """They are read from storage once, one at a time."""
    partials, blocks = parts(4), BlockSums()
    matrix = LandscapeDistance.combine(map(blocks.add, partials), TASKS)
    assert np.array_equal(matrix.values, LandscapeDistance.combine(partials, TASKS).values)
    assert len(blocks.sums) == blocks.n_parts == 4


def test_many_parts_become_a_few_blocks_that_hold_all_of_them() -> None:
    partials = parts(3 * MAX_BLOCKS + 1)
    blocks = blocks_of(partials)
    assert len(blocks.sums) == MAX_BLOCKS
    assert sum(block["samples"] for block in blocks.sums) == 10 * len(partials)


def test_partials_of_an_older_version_may_have_a_key_more() -> None:
    old, new = parts(MAX_BLOCKS), parts(2)
    blocks = blocks_of([{**partial, "owner": np.zeros(3)} for partial in old] + new)
    assert blocks.resampled(LandscapeDistance, TASKS, 0) is not None


def test_their_spread_is_the_standard_error() -> None:
    spread, errors = [], []
    for seed in range(30):
        partials = parts(6, seed)
        matrix = LandscapeDistance.combine(partials, TASKS)
        resampled = blocks_of(partials).resampled(LandscapeDistance, TASKS, seed)
        assert matrix.errors is not None
        assert resampled is not None
        errors.append(matrix.errors[0, 1] ** 2)
        spread.append(resampled[:, 0, 1].var(ddof=1))
    assert np.mean(spread) == pytest.approx(np.mean(errors), rel=0.2)


def test_one_part_has_nothing_to_draw_from() -> None:
    assert blocks_of(parts(1)).resampled(LandscapeDistance, TASKS, 0) is None
