"""The comparison of plans must see a difference that is there and none that is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from jobs.bench import verdict as bench
from stg_ray.report.comparison import MOST_TRAININGS, Comparison, Difference, Trainings, holm, noise_of


def plans(rng: np.random.Generator, seeds: int, gain: float = 0.0, draws: int = 2) -> dict[str, Trainings]:
    """Ours, all in one and random groups of 20 tasks, with noise that the tasks of a network share."""
    networks = np.arange(20)[:, None] % 4

    def values(n: int, networks: np.ndarray) -> np.ndarray:
        return 0.5 + 0.01 * rng.normal(size=(4, n))[networks[:, 0]] + 0.01 * rng.normal(size=(20, n))

    def grouped(n: int, gain: float = 0.0) -> Trainings:
        return Trainings(values(n, networks) + gain, np.repeat(networks, n, axis=1), np.arange(n) // seeds)

    return {
        "ours": grouped(seeds, gain),
        "all_in_one": Trainings.of_one_network(values(seeds, np.zeros_like(networks))),
        "random": grouped(draws * seeds),
    }


def test_a_clear_difference_is_seen() -> None:
    difference = Comparison(plans(np.random.default_rng(0), seeds=3, gain=0.1)).difference("ours", "all_in_one")
    assert difference.is_clear
    assert difference.low < 0.1 < difference.high
    assert difference.helped == 20


@pytest.mark.parametrize("kind", bench.simulations(), ids=lambda kind: f"{kind[0]}, {kind[1]} tasks")
@pytest.mark.parametrize("seeds", [2, 5])
def test_plans_that_do_not_differ_are_told_apart_in_one_of_twenty_runs(kind: Any, seeds: int) -> None:
    alone, any_clear, known = bench.rates(kind[2], seeds, draws=400)
    assert known
    # Two to seven percent by the benchmark; a share of 400 draws strays by three percent.
    assert 0.005 < alone < 0.09
    assert any_clear < 0.1, "of whole verdicts, after Holm's correction"


@pytest.mark.parametrize("kind", bench.real_trainings(), ids=lambda kind: f"{kind[0]}, {kind[1]} tasks")
def test_real_trainings_of_one_plan_are_told_apart_in_one_of_twenty_runs(kind: Any) -> None:
    alone, any_clear, _ = bench.rates(kind[2], 3, draws=300)
    assert alone < 0.09
    assert any_clear < 0.09


def test_one_training_of_each_plan_gives_no_verdict() -> None:
    """Beside two draws of random groups, too: one degree of freedom makes an interval of any width, by luck."""
    for draws in (1, 2):
        comparison = Comparison(plans(np.random.default_rng(1), seeds=1, gain=0.5, draws=draws))
        for other in ("all_in_one", "random"):
            difference = comparison.difference("ours", other)
            assert not difference.is_known
            assert not difference.is_clear
            assert difference.mean == pytest.approx(0.5, abs=0.1)
            assert np.isnan([difference.low, difference.high]).all()


def test_several_draws_of_random_groups_tell_the_noise_of_single_trainings() -> None:
    rng = np.random.default_rng(2)
    clear, seen = 0, 0
    for _ in range(400):
        clear += Comparison(plans(rng, seeds=1, draws=5)).difference("ours", "random").is_clear
        seen += Comparison(plans(rng, seeds=1, draws=5, gain=0.1)).difference("ours", "random").is_clear
    assert 8 < clear < 35
    assert seen > 350


def test_one_training_is_not_compared_by_the_noise_of_other_plans() -> None:
    """Noise differs between plans by a factor of a hundred: draws of random groups tell nothing of all in one."""
    comparison = Comparison(plans(np.random.default_rng(5), seeds=1, draws=5))
    assert not comparison.difference("ours", "all_in_one").is_known


def test_two_trainings_are_compared_as_by_hand() -> None:
    """One network each: Welch's t test."""
    ours, other = np.array([[0.1, 0.3]]), np.array([[0.5, 0.6]])
    difference = Comparison(
        {"ours": Trainings.of_one_network(ours), "other": Trainings.of_one_network(other)}
    ).difference("ours", "other")
    by_scipy = stats.ttest_ind(ours[0], other[0], equal_var=False)
    assert difference.mean == pytest.approx(-0.35)
    assert difference.p_value == pytest.approx(by_scipy.pvalue)
    interval = by_scipy.confidence_interval(0.95)
    assert (difference.low, difference.high) == pytest.approx((interval.low, interval.high))


def test_the_interval_narrows_with_trainings_until_it_tells_the_difference() -> None:
    rng = np.random.default_rng(3)
    needed = []
    for _ in range(50):
        difference = Comparison(plans(rng, seeds=5, gain=0.01)).difference("ours", "all_in_one")
        needed.append(difference.trainings or MOST_TRAININGS)
    # Means over tasks differ by a standard deviation of about 0.01 from training to training.
    assert 4 < np.median(needed) < 30


def test_networks_of_a_plan_are_noisy_each_for_itself() -> None:
    """The variance of the mean is that of weighted networks, with more degrees of freedom than trainings."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(3, 4))
    networks = np.repeat([[0], [0], [1]], 4, axis=1)
    of_networks = [values[:2].sum(axis=0) / 3, values[2] / 3]
    variances = [np.var(means, ddof=1) / 4 for means in of_networks]
    noise = noise_of(Trainings(values, networks, np.zeros(4, dtype=np.int64)))
    assert noise.variance == pytest.approx(sum(variances))
    assert noise.degrees == pytest.approx(sum(variances) ** 2 / sum(v**2 / 3 for v in variances))


def test_groupings_that_differ_widen_the_interval_of_random_groups() -> None:
    values = np.concatenate([np.full((4, 3), 0.2), np.full((4, 3), 0.8)], axis=1)
    noise = 0.001 * np.random.default_rng(4).normal(size=(4, 9))
    ours = Trainings.of_one_network(0.6 + noise[:, :3])
    drawn = Trainings(values + noise[:, 3:], np.zeros((4, 6), dtype=np.int64), np.repeat([0, 1], 3))
    assert not Comparison({"ours": ours, "random": drawn}).difference("ours", "random").is_clear
    one_plan = Trainings.of_one_network(np.full((4, 6), 0.5) + noise[:, 3:])
    assert Comparison({"ours": ours, "random": one_plan}).difference("ours", "random").is_clear


def test_tasks_without_a_value_are_left_out_of_every_plan() -> None:
    values = np.array([[1.0, 1.0], [np.nan, 0.5]])
    zeros = Trainings.of_one_network(np.zeros((2, 2)))
    one = Comparison({"ours": Trainings.of_one_network(values), "other": zeros, "third": zeros})
    assert one.difference("ours", "other").mean == 1
    assert one.difference("third", "other").helped == 0
    assert one.kept.tolist() == [True, False]
    nothing = Comparison({"ours": Trainings.of_one_network(np.full((2, 1), np.nan)), "other": zeros})
    assert np.isnan(nothing.difference("ours", "other").mean)
    assert not nothing.difference("ours", "other").is_clear


def test_trainings_that_never_differ_are_compared_without_noise() -> None:
    ones, others = (Trainings.of_one_network(np.full((3, 2), value)) for value in (1.0, 0.9))
    comparison = Comparison({"ours": ones, "same": ones, "others": others})
    assert comparison.difference("ours", "same").p_value == 1
    assert comparison.difference("ours", "others").is_clear


def test_several_comparisons_make_one_verdict() -> None:
    def with_p(p_value: float) -> Difference:
        return Difference(0.1, 0.01, 0.2, 1, 0, p_value)

    differences = {"a": with_p(0.04), "b": with_p(0.01), "c": with_p(0.03), "d": with_p(float("nan"))}
    adjusted = {name: d.p_value for name, d in holm(differences).items()}
    assert [adjusted[name] for name in "abc"] == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(adjusted["d"])
