"""Successive halving: of many trials the best third goes on, again and again, and the last ones are trained to their
end (Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016;
with a third in place of a half, as in Hyperband: Li et al., JMLR 2018).

All trials of a round end before the next begins, so the choice does not depend on which is faster, nor on how many are
trained at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

KEPT = 3
"""One of so many trials goes on, for so many times as long."""
MOST_ROUNDS = 4
"""Rounds at most: a shorter first one would compare noise."""

Score = float | None
"""On validation rows; None of a trial that failed."""

Until = int | Literal["end"]
"""Epoch until which a trial is trained, or its end."""

Train = Callable[[Sequence[int], Until], dict[int, Score]]
"""Trains some trials, by their numbers, until an epoch or their end, and returns the best score of each so far."""


@dataclass(frozen=True)
class Round:
    """A round of successive halving.

    Attributes:
        trials: their number, without the first trial where that is not among the best.
        until: epoch until which they are trained, or the end.
    """

    trials: int
    until: Until


def rounds_of(n_trials: int, epochs: int) -> list[Round]:
    """Return the rounds of a search: each of the last one has two trials at least, the first one an epoch.

    Args:
        n_trials: trials of the first round.
        epochs: of a whole training, as far as they are known.
    """
    number = 1
    while number < MOST_ROUNDS and n_trials >= 2 * KEPT**number:
        number += 1
    lengths = {max(1, round(epochs / KEPT**k)) for k in range(1, number)}
    pauses = sorted(length for length in lengths if length < epochs)
    return [Round(math.ceil(n_trials / KEPT**k), until) for k, until in enumerate([*pauses, "end"])]


def halve(rounds: Sequence[Round], train: Train) -> list[dict[int, Score]]:
    """Run the rounds, and return the scores of each. The first trial is in all of them, unless it fails.

    Of equal scores the lower number is the better one.
    """
    left, history = list(range(rounds[0].trials)), []
    for number, each in enumerate(rounds):
        scores = train(left, each.until)
        history.append(scores)
        ranked = best_first(scores)
        kept = ranked[: rounds[number + 1].trials] if number + 1 < len(rounds) else ranked
        left = sorted({*kept, *(trial for trial in ranked if trial == 0)})
        if not left:
            break
    return history


def best_first(scores: dict[int, Score]) -> list[int]:
    """Return the numbers of the trials that have a score, the best one first."""
    return sorted((n for n in scores if scores[n] is not None), key=lambda n: (-(scores[n] or 0.0), n))
