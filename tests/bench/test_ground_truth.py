"""Measured gains and affinities are compared as said: ranks, repeated tasks, and who gains from whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import stg_ray as sr
from jobs.bench import trained_groups
from jobs.bench.ground_truth import Gains, as_gains, correlations, random_groups, weighted_spearman
from jobs.bench.trained_groups import scores_of
from stg_ray.progress import Reporter


def test_a_value_counts_as_often_as_it_was_drawn() -> None:
    rng = np.random.default_rng(0)
    a, b, times = rng.permutation(50), rng.permutation(50), rng.integers(0, 3, 50)
    kept = times > 0
    ranks = [np.argsort(np.argsort(own[kept])) for own in (a, b)]
    first, second = (np.repeat(own, times[kept]) for own in ranks)
    assert weighted_spearman(a, b, times) == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert weighted_spearman(a, b, np.ones(50)) == pytest.approx(spearmanr(a, b).statistic)
    assert weighted_spearman(a, np.zeros(50), np.ones(50)) == 0


def test_gains_are_of_the_row_from_the_column_and_affinities_are_read_alike() -> None:
    rng = np.random.default_rng(0)
    helps = rng.normal(size=(5, 5))  # row gains from column
    pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
    groups = random_groups(5, 6)
    members = [(t,) for t in range(5)] + pairs + groups
    measured = np.full((3, len(members), 5), np.nan)
    for m, group in enumerate(members):
        for t in group:
            measured[:, m, t] = sum(helps[t, o] for o in group if o != t) / max(len(group) - 1, 1)
    gains = as_gains(measured + rng.normal(0, 1e-6, (3, 1, 1)), list("abcde"), pairs, groups)
    np.testing.assert_allclose(gains.pairs[0][0, 3], helps[0, 3], atol=1e-5)
    found = correlations(gains, [helps])
    assert found["pairs"][0] == found["partners"][0] == found["groups"][0] == 1
    assert correlations(gains, [-helps])["pairs"] == [-1, -1, -1]
    assert abs(correlations(gains, [helps.T])["pairs"][0]) < 0.6


def test_the_spread_is_that_of_the_gains_without_their_noise() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.02, (20, 20))
    np.fill_diagonal(true, np.nan)
    pairs = true + rng.normal(0, 0.03, (6, 20, 20))
    gains = Gains(pairs, np.zeros((0, 20), dtype=bool), np.zeros((6, 0, 20)))
    assert gains.error == pytest.approx(0.03 / np.sqrt(6), rel=0.05)
    assert gains.spread == pytest.approx(0.02, rel=0.1)


def test_random_groups_are_different_and_no_pairs() -> None:
    groups = random_groups(14, 60)
    assert len(set(groups)) == 60
    assert {len(group) for group in groups} == {3, 4, 5, 6}
    assert groups == random_groups(14, 60)
    assert max(len(group) for group in random_groups(5, 6)) == 4


@pytest.mark.slow
def test_scores_are_paid_for_once(
    make_task_set: Callable[..., sr.TaskSet], tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a training is not trained again; a network that was not asked for before is."""
    monkeypatch.setattr(trained_groups, "KEPT", tmp_path / "kept.jsonl")
    short = {"epochs": 1, "batch_size": 64}
    settings = {
        "model": {"trunk": "mlp"},
        "profile": {"workers": 1, **short},
        "affinity": {"methods": ["label_correlation"]},
        "retrain": short,
    }
    task_set = make_task_set(n_samples=120)
    run = sr.run(task_set, tmp_path / "run", settings=settings, until="profile", reporter=quiet)
    first = scores_of(run, [(0,), (0, 1)], 0, 1, "cpu", "mine")
    np.testing.assert_array_equal(np.isfinite(first), np.arange(6) < [[1], [2]])
    run.run_dir.delete(".networks")
    wider = scores_of(run, [(0,), (0, 1), (1, 2)], 0, 1, "cpu", "mine")
    np.testing.assert_array_equal(wider[:2], first)
    assert len(run.run_dir.list(".networks")) == 1
    assert len((tmp_path / "kept.jsonl").read_text().splitlines()) == 1
    scores_of(run, [(0,)], 1, 1, "cpu", "mine")
    assert len(run.run_dir.list(".networks")) == 2, "another training is another network"
    assert [line["training"] for line in trained_groups.kept()] == [0, 1]
