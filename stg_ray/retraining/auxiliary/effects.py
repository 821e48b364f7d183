"""Effects on one task's score, with what luck is in them: that of its rows, and that of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from stg_ray.config import MetricConfig
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task
from stg_ray.training.metrics import DEFAULT, primary_score

LEVEL = 0.05
"""Chance that any auxiliary is kept where none helps; intervals are of the other 95 %."""
N_RESAMPLES = 100
"""Draws of the rows with replacement."""


@dataclass(frozen=True)
class Effect:
    """The difference of two ways to train, in the metric of the main task.

    Attributes:
        mean: over trainings.
        error: standard error, by rows and trainings.
        degrees: degrees of freedom of the error.
    """

    mean: float
    error: float
    degrees: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        margin = float(special.stdtrit(self.degrees, 1 - LEVEL / 2) * self.error) if self.error > 0 else 0.0
        return self.mean - margin, self.mean + margin

    @property
    def p_value(self) -> float:
        """Chance of such a gain, or a larger one, where there is none (one-sided)."""
        if self.error == 0:
            return float(self.mean <= 0)
        return float(special.stdtr(self.degrees, -self.mean / self.error))


class ScoreTable:
    """Scores of one task by several ways to train, on the same rows, and on draws of these rows with replacement.

    Rows and trainings are two sources of luck: trainings differ, and so do the rows that a score happens to be taken
    on, which all trainings share. The variance of a difference is the sum of both: that of the bootstrap over rows
    (Efron 1979), which are the same for both ways, and those of the two means over trainings; its degrees of freedom
    are those of Satterthwaite (1946), Biometrics Bulletin 2:110.

    Args:
        task: the task.
        labels: (n,) of the rows, none missing.
        predictions: by way, of each of S >= 2 trainings: (n,) or (n, C).
        seed: of the draws.
        metric: by which the task is compared.

    Attributes:
        scores: by way, (S,) of the trainings.
    """

    def __init__(
        self,
        task: Task,
        labels: np.ndarray,
        predictions: Mapping[str, Sequence[np.ndarray]],
        seed: int,
        metric: MetricConfig = DEFAULT,
    ) -> None:
        self.n_rows = len(labels)
        rng = generator(Stream.RESAMPLED_ROWS, seed)
        draws = [rng.integers(self.n_rows, size=self.n_rows) for _ in range(N_RESAMPLES)]

        def score(rows: np.ndarray, way: str) -> list[float]:
            return [primary_score(task, prediction[rows], labels[rows], metric) for prediction in predictions[way]]

        self.scores = {way: np.array(score(np.arange(self.n_rows), way)) for way in predictions}
        self.resampled = {way: np.array([score(rows, way) for rows in draws]).mean(axis=1) for way in predictions}
        """By way, (B,) means over trainings on each draw; NaN where a draw has one class or value only."""

    def effect(self, way: str, other: str) -> Effect:
        """Compare two ways to train."""
        mean = float(self.scores[way].mean() - self.scores[other].mean())
        by_draw = self.resampled[way] - self.resampled[other]
        known = by_draw[np.isfinite(by_draw)]
        terms = [(float(known.var(ddof=1)) if len(known) > 1 else 0.0, self.n_rows - 1)]
        terms += [
            (float(each.var(ddof=1)) / len(each), len(each) - 1) for each in (self.scores[way], self.scores[other])
        ]
        variance = sum(term for term, _ in terms)
        inverse = sum(term**2 / degrees for term, degrees in terms if term > 0)
        return Effect(mean, float(np.sqrt(variance)), variance**2 / inverse if inverse else np.inf)


def clear_gains(effects: Mapping[str, Effect]) -> list[str]:
    """Return which effects are gains by more than luck, the largest first.

    By Holm's step-down method (1979), one-sided: the chance that any is named where none is a gain is `LEVEL`.
    """
    kept = []
    for rank, name in enumerate(sorted(effects, key=lambda name: effects[name].p_value)):
        if effects[name].p_value * (len(effects) - rank) >= LEVEL:
            break
        kept.append(name)
    return sorted(kept, key=lambda name: -effects[name].mean)
