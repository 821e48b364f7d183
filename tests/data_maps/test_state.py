"""Data maps: exact under any way of cutting and merging the visits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.data_maps.state import DataMapState, in_regions, pair_sums, snapshot_epochs


def visits(n_visits: int, n: int, k: int, seed: int, missing: float = 0.2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    confidences = rng.random((n_visits, n, k), dtype=np.float32)
    confidences[:, rng.random((n, k)) < missing] = np.nan
    return confidences


def state_of(confidences: np.ndarray) -> DataMapState:
    state = DataMapState.empty(*confidences.shape[1:])
    for visit in confidences:
        state = state.merge(DataMapState.of_visit(visit))
    return state


@given(n_visits=st.integers(1, 12), n=st.integers(1, 6), k=st.integers(1, 4), seed=st.integers(0, 10_000))
def test_states_are_the_moments_of_the_visits(n_visits: int, n: int, k: int, seed: int) -> None:
    confidences = visits(n_visits, n, k, seed)
    state = state_of(confidences)
    exact = confidences.astype(np.float64)
    assert (state.count == n_visits).all()
    np.testing.assert_allclose(state.mean, exact.mean(axis=0), rtol=1e-5)
    spread = exact.std(axis=0, ddof=1) if n_visits > 1 else np.where(np.isnan(exact[0]), np.nan, 0)
    np.testing.assert_allclose(state.variability, spread, rtol=1e-4, atol=1e-6)


@given(
    sizes=st.lists(st.integers(0, 4), min_size=2, max_size=5),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 10_000),
)
def test_merging_in_any_order_gives_the_same(sizes: list[int], order: object, seed: int) -> None:
    total = sum(sizes)
    confidences = visits(total, 5, 3, seed)
    bounds = np.cumsum([0, *sizes])
    pieces = [state_of(confidences[a:b]) for a, b in itertools.pairwise(bounds)]
    order.shuffle(pieces)  # type: ignore[attr-defined]
    merged = DataMapState.empty(5, 3)
    for piece in pieces:
        merged = merged.merge(piece)
    oracle = state_of(confidences)
    assert np.array_equal(merged.count, oracle.count)
    np.testing.assert_allclose(merged.mean, oracle.mean, rtol=1e-5)
    np.testing.assert_allclose(merged.m2, oracle.m2, rtol=1e-3, atol=1e-6)


def test_how_a_state_is_shown() -> None:
    state = DataMapState.empty(3, 2).merge(DataMapState.of_visit(np.zeros((3, 2)), np.array([1, 0, 1], np.int32)))
    assert repr(state) == "DataMapState(3 samples, 2 tasks, 0 to 1 visit of each)"
    assert repr(state.merge(state)) == "DataMapState(3 samples, 2 tasks, 0 to 2 visits of each)"
    assert repr(DataMapState.empty(0, 1)) == "DataMapState(0 samples, 1 task, 0 visits of each)"


def test_a_batch_reads_back_the_same() -> None:
    state = state_of(visits(3, 6, 4, 0))
    back = DataMapState.from_batch(state.to_batch(np.arange(6)))
    for name in ("count", "mean", "m2"):
        assert np.array_equal(getattr(back, name), getattr(state, name), equal_nan=True)


@given(seed=st.integers(0, 1000), missing=st.sampled_from([0.0, 0.3, 0.9]))
def test_pair_sums_are_those_of_a_loop_over_samples(seed: int, missing: float) -> None:
    confidences = visits(4, 7, 3, seed, missing)
    states = [state_of(confidences[:2]), state_of(confidences)]
    squared, count = pair_sums(states)
    for a in range(3):
        for b in range(3):
            total, n = 0.0, 0
            for state in states:
                for i in range(7):
                    if not np.isnan(state.mean[i, a]) and not np.isnan(state.mean[i, b]):
                        n += 1
                        total += (float(state.mean[i, a]) - float(state.mean[i, b])) ** 2
                        total += (float(state.variability[i, a]) - float(state.variability[i, b])) ** 2
            assert count[a, b] == n
            assert squared[a, b] == pytest.approx(total, abs=1e-9)


def test_snapshots_are_spread_and_end_with_the_last_epoch() -> None:
    assert snapshot_epochs(20, 4) == [5, 10, 15, 20]
    assert snapshot_epochs(3, 10) == [1, 2, 3]
    assert snapshot_epochs(7, 1) == [7]


def test_regions_tell_easy_from_hard_and_ambiguous() -> None:
    mean = np.array([[0.95, 0.05, 0.5, 0.9]] * 4, dtype=np.float32)
    spread = np.array([[0.0, 0.0, 0.0, 0.4]] * 4, dtype=np.float32)
    state = DataMapState(np.full(4, 5, np.int32), mean, spread**2 * 4)
    shares = np.stack([region.mean(axis=0) for region in in_regions(state)], axis=1)
    assert shares.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]]
