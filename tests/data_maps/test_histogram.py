"""Histograms of the points of data maps count every labelled sample once, and add over parts."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.data_maps import histogram
from stg_ray.data_maps.histogram import BINS, LARGEST_VARIABILITY, PointHistogram
from stg_ray.data_maps.state import DataMapState


@pytest.fixture
def state() -> DataMapState:
    rng = np.random.default_rng(0)
    visits = rng.random((3, 500, 2)).astype(np.float32)
    visits[:, :50, 1] = np.nan
    state = DataMapState.empty(500, 2)
    for visit in visits:
        state = state.merge(DataMapState.of_visit(visit))
    return state


def test_counts_are_numpys(state: DataMapState) -> None:
    ranges = ((0, 1), (0, LARGEST_VARIABILITY))
    for t, counts in enumerate(PointHistogram.of(state).counts):
        labelled = ~np.isnan(state.mean[:, t])
        points = state.mean[labelled, t], state.variability[labelled, t]
        np.testing.assert_array_equal(counts, np.histogram2d(*points, bins=BINS, range=ranges)[0])


def test_they_add_over_parts(state: DataMapState, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = PointHistogram.of(state, ["a", "b"])
    parts = PointHistogram.of(state[:123], ["a", "b"]) + PointHistogram.of(state[123:], ["a", "b"])
    np.testing.assert_array_equal(parts.counts, whole.counts)
    monkeypatch.setattr(histogram, "POINTS_AT_ONCE", 64)
    np.testing.assert_array_equal(PointHistogram.of(state).counts, whole.counts)
    assert repr(whole) == "PointHistogram(2 tasks, 950 points in 32 x 32 bins)"


def test_a_task_without_points_is_at_no_distance(state: DataMapState) -> None:
    counts = np.concatenate([PointHistogram.of(state).counts, np.zeros((1, BINS, BINS))])
    distances = PointHistogram(("a", "b", "none"), counts).distances()
    assert 0 < distances.values[0, 1] < 1
    assert np.isnan(distances.values[0, 2])
    assert distances.samples == 500
