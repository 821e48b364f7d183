"""The comparison of plans must see a difference that is there and none that is not."""

from __future__ import annotations

import numpy as np
import pytest

from stg_ray.report.comparison import TrainingNoise, paired_difference, training_noise


def test_a_clear_difference_is_seen() -> None:
    rng = np.random.default_rng(0)
    difficulty = rng.random((30, 1))
    baseline = difficulty + 0.01 * rng.normal(size=(30, 3))
    difference = paired_difference(baseline + 0.02, baseline + 0.001 * rng.normal(size=(30, 3)))
    assert difference.is_clear
    assert difference.mean == pytest.approx(0.02, abs=0.005)
    assert difference.helped > 25


def test_plans_that_do_not_differ_are_rarely_told_apart() -> None:
    """Tasks and trainings vary, plans do not: a 95 % interval may exclude zero in one draw of twenty or so."""
    rng = np.random.default_rng(1)
    clear = 0
    for _ in range(200):
        difficulty = rng.random((20, 1))
        values, baseline = (difficulty + 0.05 * rng.normal(size=(20, 3)) for _ in range(2))
        clear += paired_difference(values, baseline, n_resamples=1000).is_clear
    assert clear <= 20


def test_noise_of_single_trainings_is_told_from_a_difference() -> None:
    """What a training changes for all tasks at once is not seen by resampling tasks: the noise of others tells it."""
    rng = np.random.default_rng(2)
    clear = {"with the noise": 0, "without": 0}
    for _ in range(200):
        difficulty = rng.random((20, 1))
        noise = 0.02 * rng.normal(size=(1, 4)) + 0.02 * rng.normal(size=(20, 4))
        values, baseline = (difficulty + noise)[:, :1], (difficulty + noise)[:, 1:]
        clear["with the noise"] += paired_difference(values, baseline, n_resamples=1000).is_clear
        clear["without"] += paired_difference(values, baseline, noise=TrainingNoise(0, 1), n_resamples=1000).is_clear
    assert clear["with the noise"] <= 20
    assert clear["without"] > 60


def test_the_noise_of_trainings_is_pooled_over_the_plans_that_have_several() -> None:
    rng = np.random.default_rng(3)
    plans = [mean + 0.1 * rng.normal(size=(1, 200)) + np.zeros((4, 1)) for mean in (0.2, 0.7)]
    noise = training_noise([*plans, np.ones((4, 1))])
    assert noise is not None
    assert noise.deviation == pytest.approx(0.1, rel=0.1)
    assert noise.degrees == 398
    assert training_noise([np.ones((4, 1))]) is None


def test_tasks_without_a_value_are_left_out() -> None:
    values = np.array([[1.0, 1.0], [np.nan, 0.5]])
    difference = paired_difference(values, np.zeros((2, 1)))
    assert (difference.mean, difference.helped, difference.hurt) == (1.0, 1, 0)
    nothing = paired_difference(np.full((2, 1), np.nan), np.zeros((2, 1)))
    assert np.isnan(nothing.mean)
    assert not nothing.is_clear


def test_equal_seeds_give_equal_intervals() -> None:
    values = np.random.default_rng(0).random((10, 2))
    assert paired_difference(values, values[::-1], seed=3) == paired_difference(values, values[::-1], seed=3)
