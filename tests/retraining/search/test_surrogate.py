"""The surrogate predicts as a Gaussian process written out by hand does, and finds what is planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.retraining.search.surrogate import CONSTANT, GroupSurrogate, Kernel


def random_groups(rng: np.random.Generator, n: int, n_tasks: int) -> np.ndarray:
    groups = rng.random((n, n_tasks)) < 0.5
    groups[np.arange(n), rng.integers(n_tasks, size=n)] = True
    return groups


def planted(rng: np.random.Generator, groups: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Scores: tasks of the same half help each other, others hurt."""
    n_tasks = groups.shape[1]
    half = np.arange(n_tasks) < n_tasks // 2
    effect = np.where(half[:, None] == half, 0.1, -0.1)
    np.fill_diagonal(effect, 0)
    scores = groups @ effect + noise * rng.normal(size=groups.shape)
    return np.where(groups, scores, np.nan)


def by_hand(kernel: Kernel, one: np.ndarray, other: np.ndarray) -> float:
    """Covariance of a task in two groups that both have it."""
    linear = kernel.linear * (np.sum(one & other) - 1) / len(one)
    return float(CONSTANT + linear + kernel.radial * np.exp(-np.sum(one != other) / kernel.length))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 12))
def test_predictions_are_those_of_the_process_by_hand(seed: int, n_tasks: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    groups, queries = random_groups(rng, n_groups, n_tasks), random_groups(rng, 3, n_tasks)
    scores = np.where(groups, rng.normal(size=groups.shape), np.nan)
    surrogate = GroupSurrogate(groups, scores)
    mean, deviation = surrogate.predict(queries)
    kernel, scale = surrogate.kernel, surrogate.scale
    for query, means, deviations in zip(queries, mean, deviation, strict=True):
        for t in range(n_tasks):
            if not query[t]:
                assert means[t] == deviations[t] == 0
                continue
            rows = [row for row in range(n_groups) if groups[row, t]]
            if not rows:
                assert means[t] == surrogate.mean
                continue
            inner = np.array([[by_hand(kernel, groups[a], groups[b]) for b in rows] for a in rows])
            inverse = np.linalg.inv(inner + kernel.noise * np.eye(len(rows)))
            outer = np.array([by_hand(kernel, query, groups[a]) for a in rows])
            residual = (scores[rows, t] - surrogate.mean) / scale
            assert means[t] == pytest.approx(surrogate.mean + scale * float(outer @ inverse @ residual), abs=1e-8)
            variance = by_hand(kernel, query, query) - float(outer @ inverse @ outer)
            assert deviations[t] == pytest.approx(scale * np.sqrt(max(variance, 0)), abs=1e-5)


def test_what_is_left_out_is_predicted_from_the_others() -> None:
    rng = np.random.default_rng(0)
    groups = random_groups(rng, 12, 4)
    scores = np.where(groups, rng.normal(size=groups.shape), np.nan)
    surrogate = GroupSurrogate(groups, scores)
    predicted = surrogate.left_out()
    assert np.isnan(predicted[~groups]).all()
    t = 2
    rows = np.flatnonzero(groups[:, t])
    for left in rows:
        others = rows[rows != left]
        covariance = surrogate.kernel.between(groups, groups)
        inner = covariance[np.ix_(others, others)] + surrogate.kernel.noise * np.eye(len(others))
        residual = (scores[others, t] - surrogate.mean) / surrogate.scale
        expected = covariance[left, others] @ np.linalg.solve(inner, residual)
        assert predicted[left, t] == pytest.approx(surrogate.mean + surrogate.scale * expected)


def test_planted_effects_are_predicted_for_groups_that_were_not_measured() -> None:
    rng = np.random.default_rng(1)
    groups, others = random_groups(rng, 40, 10), random_groups(rng, 200, 10)
    surrogate = GroupSurrogate(groups, planted(rng, groups, noise=0.02))
    mean, _ = surrogate.predict(others)
    assert np.corrcoef(mean[others], planted(rng, others)[others])[0, 1] > 0.9


def test_noise_is_not_predicted() -> None:
    """What is left out of scores without structure is hardly better predicted than by their mean."""
    rng = np.random.default_rng(2)
    groups = random_groups(rng, 60, 10)
    scores = np.where(groups, rng.normal(size=groups.shape), np.nan)
    predicted = GroupSurrogate(groups, scores).left_out()
    assert abs(np.corrcoef(predicted[groups], scores[groups])[0, 1]) < 0.2


def test_an_affinity_tells_of_groups_before_many_are_measured() -> None:
    rng = np.random.default_rng(3)
    half = np.arange(20) < 10
    affinity = np.where(half[:, None] == half, 1.0, 0.0) + 0.1 * rng.normal(size=(20, 20))
    few, others = random_groups(rng, 5, 20), random_groups(rng, 100, 20)
    truth = planted(rng, others)[others]

    def correlation(values: np.ndarray | None) -> float:
        mean, _ = GroupSurrogate(few, planted(rng, few), values).predict(others)
        return float(np.corrcoef(mean[others], truth)[0, 1])

    assert correlation(affinity) > 0.9 > correlation(None)
    opposite = GroupSurrogate(few, planted(rng, few), -affinity)
    assert opposite.slope == 0, "alike tasks that are expected to hurt each other: not believed"


def test_missing_scores_are_left_out() -> None:
    groups = np.array([[True, True, False], [True, False, True]])
    surrogate = GroupSurrogate(groups, np.array([[1.0, np.nan, np.nan], [0.5, np.nan, np.nan]]))
    mean, deviation = surrogate.predict(np.ones((1, 3), dtype=bool))
    assert np.isfinite(mean).all()
    assert deviation[0, 1] > deviation[0, 0], "nothing was measured of it"
