"""What is expected of the groups that a search has found."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.retraining.search.expected import Expected
from stg_ray.retraining.search.search import GroupSearch


@pytest.mark.parametrize(("effect", "n_groups"), [(0.0, 3), (0.0, (2, 5)), (4.0, 3)])
def test_a_forecast_takes_luck_back_and_leaves_what_is_there(effect: float, n_groups: int | tuple[int, int]) -> None:
    """Of gains that are noise the best groups measured much and little is expected; of planted ones what they bring."""
    planted, expected, measured, over = np.arange(12) % 3, [], [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        search = GroupSearch(12, n_groups, budget=40, seed=seed)
        sums = {}
        while groups := search.ask(at_least=10):
            for group in groups:
                same = (planted[:, None] == planted) & group
                gains = np.where(group, effect * same.sum(axis=1) / group.sum() + rng.normal(size=12), np.nan)
                sums[group.tobytes()] = np.nansum(gains)
                search.tell(group, gains)
        best = search.best()
        forecast = Expected.of(search, best, seed)
        expected.append(forecast.expected)
        over.append(forecast.over_random)
        measured.append(sum(sums[(best == g).tobytes()] for g in range(best.max() + 1)) / 12)
    assert np.mean(measured) > 0.3, "the best of many is better by luck alone"
    if effect == 0:
        assert abs(np.mean(expected)) < 0.5 * np.mean(measured)
    else:
        assert np.mean(over) > 0.2


def test_the_error_has_that_of_the_rows() -> None:
    search = GroupSearch(4, 2, budget=8)
    while groups := search.ask():
        for group in groups:
            search.tell(group, np.where(group, group.sum() / 10, np.nan))
    alone, beside = (Expected.of(search, search.best(), 0, error) for error in (0.0, 0.3))
    assert beside.error == pytest.approx(np.hypot(alone.error, 0.3))
    assert beside.expected == alone.expected
