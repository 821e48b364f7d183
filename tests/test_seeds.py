"""No two draws of a run are the same numbers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from stg_ray.seeds import Stream, generator, torch_seed

keys = st.lists(st.integers(0, 50), max_size=3)


@given(seed=st.integers(0, 2**40), one=keys, other=keys)
def test_streams_differ_whatever_their_keys(seed: int, one: list[int], other: list[int]) -> None:
    """NumPy takes [a, b] and [a, b, 0] for the same seed."""
    for a, b in itertools.combinations(Stream, 2):
        assert generator(a, seed, *one).integers(2**63) != generator(b, seed, *other).integers(2**63)


def test_draws_of_one_stream_differ_by_their_key_and_repeat() -> None:
    first, again, second = (generator(Stream.NETWORK_BATCHES, 0, epoch).integers(2**63) for epoch in (1, 1, 2))
    assert first == again != second


def test_every_random_number_of_a_run_has_a_named_stream() -> None:
    """Elsewhere generators are made for data that is fixed (random labels) or for a measurement of time."""
    source = Path(__file__).parents[1] / "stg_ray"
    fixed = re.compile(r"default_rng\((61|67|0)\)")
    for file in source.rglob("*.py"):
        if file.name != "seeds.py":
            assert "default_rng(" not in fixed.sub("", file.read_text()), file


def test_torch_starts_every_epoch_of_every_rank_anew() -> None:
    seeds = [torch_seed(seed, epoch, rank) for seed in range(3) for epoch in range(1, 50) for rank in range(100)]
    assert len(set(seeds)) == len(seeds)
