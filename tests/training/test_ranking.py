"""Average precision is that of scikit-learn, ties included."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from stg_ray.training.ranking import average_precision


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=60), st.booleans())
def test_it_is_that_of_scikit_learn(rows: list[tuple[bool, int]], distinct: bool) -> None:
    """Scores of few values are mostly ties, and of as many as there are rows none."""
    labels = np.array([label for label, _ in rows])
    labels[0] = True
    scores = np.array([value for _, value in rows], dtype=np.float32)
    if distinct:
        scores += np.linspace(0, 0.5, len(scores), dtype=np.float32)
    expected = average_precision_score(labels, scores)
    np.testing.assert_allclose(average_precision(labels, scores), expected, rtol=1e-12)
    np.testing.assert_allclose(average_precision(labels.astype(np.int64), scores), expected, rtol=1e-12)


def test_a_ranking_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(20_000) < 0.01, rng.random(20_000, dtype=np.float32)
    np.testing.assert_allclose(average_precision(labels, scores), average_precision_score(labels, scores), rtol=1e-10)


def test_scores_that_are_no_numbers_have_no_ranking() -> None:
    assert np.isnan(average_precision(np.array([True, False]), np.array([0.5, np.nan])))
    assert average_precision(np.array([True, False]), np.array([np.inf, -np.inf])) == 1.0
