"""The best third goes on, whatever the order in which trials end, and the configuration as given is always there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.tuning.halving import Round, Score, Train, Until, best_first, halve, rounds_of


@pytest.mark.parametrize(
    ("trials", "epochs", "expected"),
    [
        (2, 27, [(2, "end")]),
        (6, 27, [(6, 9), (2, "end")]),
        (40, 27, [(40, 3), (14, 9), (5, "end")]),
        (200, 100, [(200, 4), (67, 11), (23, 33), (8, "end")]),
        (40, 2, [(40, 1), (14, "end")]),
        (40, 1, [(40, "end")]),
    ],
)
def test_the_rounds(trials: int, epochs: int, expected: list[tuple[int, Until]]) -> None:
    assert rounds_of(trials, epochs) == [Round(*each) for each in expected]


def table(curves: Sequence[Sequence[Score]], calls: list[tuple[list[int], Until]]) -> Train:
    """Trainings whose scores after every epoch are known."""

    def train(numbers: Sequence[int], until: Until) -> dict[int, Score]:
        calls.append((list(numbers), until))
        return {n: curves[n][-1 if until == "end" else until - 1] for n in numbers}

    return train


SCORES = st.one_of(st.none(), st.floats(0, 1))


@given(data=st.data(), n=st.integers(2, 30), epochs=st.integers(1, 30))
def test_what_is_found_is_at_least_as_good_as_what_is_given(data: st.DataObject, n: int, epochs: int) -> None:
    curves = data.draw(st.lists(st.lists(SCORES, min_size=epochs, max_size=epochs), min_size=n, max_size=n))
    calls: list[tuple[list[int], Until]] = []
    history = halve(rounds_of(n, epochs), table(curves, calls))
    for (numbers, until), (later, _) in pairwise(calls):
        scores = {k: curves[k][-1 if until == "end" else until - 1] for k in numbers}
        kept = {k: scores[k] for k in later if k}
        assert set(later) <= set(numbers)
        assert None not in kept.values(), "what failed goes no further"
        assert (0 in later) == (0 in numbers and scores[0] is not None)
        best_dropped = max((s for k, s in scores.items() if k and k not in later and s is not None), default=0.0)
        assert all(score is not None and score >= best_dropped for score in kept.values())
    if calls[-1][1] == "end" and (ranked := best_first(history[-1])):
        best, as_given = history[-1][ranked[0]], history[-1].get(0)
        assert best is not None
        assert as_given is None or best >= as_given


def test_a_slow_beginner_is_lost_and_a_tie_goes_to_the_lower_number() -> None:
    curves = [[0.1, 0.1, 0.1], [0.2, 0.2, 0.5], [0.2, 0.2, 0.5], [0.0, 0.0, 0.9], *[[0.05] * 3] * 2]
    calls: list[tuple[list[int], Until]] = []
    history = halve([Round(6, 1), Round(2, "end")], table(curves, calls))
    assert calls == [([0, 1, 2, 3, 4, 5], 1), ([0, 1, 2], "end")]
    assert best_first(history[-1]) == [1, 2, 0]


def test_where_all_fail_no_more_is_trained() -> None:
    calls: list[tuple[list[int], Until]] = []
    history = halve(rounds_of(9, 9), table([[None] * 9] * 9, calls))
    assert len(calls) == 1
    assert best_first(history[-1]) == []
