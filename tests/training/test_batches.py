"""Batches: all ranks take as many steps, every row comes once, and divisors are those of the whole batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.errors import StgRayError
from stg_ray.seeds import Stream, generator
from stg_ray.training.batches import Batches, CommonBatches, Draws, ShardBatches, epoch_batches
from stg_ray.training.ranks import ALONE, Ranks

DRAWS = Draws(5, Stream.NETWORK_BATCHES)


def common(n_rows: int, batch_size: int, world: int) -> list[Batches]:
    return [CommonBatches(n_rows, batch_size, 1.5, DRAWS, Ranks(rank, world)) for rank in range(world)]


def sharded(rows_by_rank: list[int], batch_size: int) -> list[Batches]:
    world = len(rows_by_rank)
    return [ShardBatches(rows_by_rank, batch_size, 1.5, DRAWS, Ranks(rank, world)) for rank in range(world)]


@given(n_rows=st.integers(3, 40), batch_size=st.integers(1, 50), world=st.integers(1, 3), epoch=st.integers(1, 3))
def test_ranks_share_each_batch_of_common_rows(n_rows: int, batch_size: int, world: int, epoch: int) -> None:
    ranks = common(n_rows, batch_size, world)
    steps = list(zip(*(batches.of_epoch(epoch) for batches in ranks), strict=True))
    whole = epoch_batches(n_rows, ranks[0].n_steps, generator(Stream.NETWORK_BATCHES, 5, epoch))
    assert len(steps) == len(whole)
    for step, batch in zip(steps, whole, strict=True):
        assert sorted(np.concatenate([rows for rows, _ in step])) == sorted(batch)
        assert {divisor for _, divisor in step} == {len(batch) * 1.5 / world}
    assert sorted(np.concatenate(whole)) == list(range(n_rows))


@given(rows=st.lists(st.integers(1, 20), min_size=1, max_size=4), batch_size=st.integers(1, 50))
def test_each_rank_cuts_its_shard_into_as_many_batches(rows: list[int], batch_size: int) -> None:
    ranks = sharded(rows, batch_size)
    steps = list(zip(*(batches.of_epoch(1) for batches in ranks), strict=True))
    for step in steps:
        n_rows = sum(len(rows) for rows, _ in step)
        assert all(len(rows) for rows, _ in step)
        assert {divisor for _, divisor in step} == {n_rows * 1.5 / len(rows)}
    for rank, n in enumerate(rows):
        assert sorted(np.concatenate([step[rank][0] for step in steps])) == list(range(n))


def test_an_epoch_is_drawn_by_its_number_alone() -> None:
    batches = CommonBatches(20, 5, 1.0, DRAWS, ALONE)
    twice = [np.concatenate([rows for rows, _ in batches.of_epoch(2)]) for _ in range(2)]
    assert np.array_equal(*twice)
    assert not np.array_equal(twice[0], np.concatenate([rows for rows, _ in batches.of_epoch(1)]))


def test_fewer_rows_than_ranks_are_refused() -> None:
    with pytest.raises(StgRayError, match=r"2 rows for 3 workers: set retrain.workers to fewer"):
        common(2, 1, 3)
