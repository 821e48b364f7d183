"""Metrics of rankings and decisions are those of scikit-learn, ties and classes that do not occur included."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from stg_ray.training.ranking import Ranking, decision_scores, r2


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=60), st.booleans())
def test_rankings_are_those_of_scikit_learn(rows: list[tuple[bool, int]], distinct: bool) -> None:
    """Scores of few values are mostly ties, and of as many as there are rows none."""
    labels = np.array([label for label, _ in rows])
    labels[:2] = True, False
    scores = np.array([value for _, value in rows], dtype=np.float32)
    if distinct:
        scores += np.linspace(0, 0.5, len(scores), dtype=np.float32)
    for given_labels in (labels, labels.astype(np.int64)):
        ranking = Ranking(given_labels, scores)
        np.testing.assert_allclose(ranking.average_precision, sk.average_precision_score(labels, scores), rtol=1e-12)
        np.testing.assert_allclose(ranking.roc_auc, sk.roc_auc_score(labels, scores), rtol=1e-12)


def test_a_ranking_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(20_000) < 0.01, rng.random(20_000, dtype=np.float32)
    ranking = Ranking(labels, scores)
    np.testing.assert_allclose(ranking.average_precision, sk.average_precision_score(labels, scores), rtol=1e-10)
    np.testing.assert_allclose(ranking.roc_auc, sk.roc_auc_score(labels, scores), rtol=1e-10)


def test_scores_that_are_no_numbers_have_no_ranking() -> None:
    labels = np.array([True, False])
    none, some = Ranking(labels, np.array([0.5, np.nan])), Ranking(labels, np.array([np.inf, -np.inf]))
    assert np.isnan([none.average_precision, none.roc_auc]).all()
    assert (some.average_precision, some.roc_auc) == (1.0, 1.0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=40))
def test_decisions_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    """Of five classes, one of which is predicted and never occurs."""
    labels, predicted = np.array(rows).T
    found = decision_scores(labels, predicted, 5, binary=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "f1": sk.f1_score(labels, predicted, average="macro", zero_division=0),
        }
    assert found == pytest.approx(expected, abs=1e-12)
    two = labels % 2, predicted % 2
    f1 = decision_scores(*two, 2, binary=True)["f1"]
    assert f1 == pytest.approx(sk.f1_score(*two, zero_division=0), abs=1e-12)


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(-3, 3)), min_size=2, max_size=30))
def test_r2_is_that_of_scikit_learn(rows: list[tuple[int, float]]) -> None:
    labels, values = np.array(rows, dtype=np.float64).T
    assert r2(labels, values) == pytest.approx(sk.r2_score(labels, values), abs=1e-9)
    assert r2(labels, labels) == sk.r2_score(labels, labels) == 1.0
