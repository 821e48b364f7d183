"""The comparison of plans by their trainings: differences, intervals, and which of them are clear.

The tasks and the test rows of a run are the user's and stay as they are; what differs when a plan is trained again is
the training. Its noise is shared by all tasks of a network, so the tasks do not average it, and it differs between
plans: on digits the mean over tasks of one network trained for 10 epochs varies ten times as much from training to
training as that of one trained for 40. So the unit of the statistics is a network's mean over its tasks, and every plan
has the variance of its networks. Draws of random groups are units above their networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import special

LEVEL = 0.05
"""Share of verdicts that may call plans different that are not."""
LEAST_DEGREES_OF_DRAWS = 2
"""Degrees of freedom below which draws of random groups tell no noise: by one, intervals have any width, by luck."""
MOST_TRAININGS = 100
"""Numbers of trainings above this are not advised."""


@dataclass(frozen=True)
class Difference:
    """The difference of two plans in the metric.

    Attributes:
        mean: over tasks and trainings.
        low, high: of its 95 % interval; NaN where the noise of a training is not known.
        helped, hurt: numbers of tasks that are better and worse, by their means over trainings.
        p_value: two-sided; that of several comparisons together after `holm`; NaN where the noise is not known.
        trainings: number of trainings of each plan that would tell a difference of this size from none; None where the
            noise is not known, or that would be more than `MOST_TRAININGS`.
    """

    mean: float
    low: float
    high: float
    helped: int
    hurt: int
    p_value: float = float("nan")
    trainings: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the noise of a training is known, so that there is an interval."""
        return not np.isnan(self.p_value)

    @property
    def is_clear(self) -> bool:
        """Whether the plans differ by more than noise explains."""
        return self.p_value < LEVEL


@dataclass(frozen=True)
class Trainings:
    """The results of a plan's trainings.

    Attributes:
        values: (T, S) metric of T tasks in S trainings; NaN where a task has none.
        networks: (T, S) number of the network that serves each task; the same for all where networks predict together.
        draws: (S,) number of the draw of random groups that each training belongs to; equal for other plans.
    """

    values: np.ndarray
    networks: np.ndarray
    draws: np.ndarray

    @classmethod
    def of_one_network(cls, values: np.ndarray) -> Trainings:
        """Trainings of one network of all tasks; values: (T, S)."""
        return cls(values, np.zeros(values.shape, dtype=np.int64), np.zeros(values.shape[1], dtype=np.int64))

    def of_draw(self, draw: int) -> Trainings:
        """The trainings of one draw of random groups."""
        chosen = self.draws == draw
        return Trainings(self.values[:, chosen], self.networks[:, chosen], self.draws[chosen])


class Noise(NamedTuple):
    """The noise of a mean over trainings.

    Attributes:
        variance: of the mean.
        degrees: degrees of freedom of that estimate; 0 where it is not known.
    """

    variance: float
    degrees: float

    @classmethod
    def of_sum(cls, terms: Iterable[Noise]) -> Noise:
        """The noise of a sum of independent terms, by Satterthwaite (1946), Biometrics Bulletin 2:110."""
        terms = [term for term in terms if term.variance > 0 or term.degrees == 0]
        if not terms:
            return cls(0.0, np.inf)
        if any(term.degrees == 0 for term in terms):
            return cls(np.nan, 0)
        variance = sum(term.variance for term in terms)
        return cls(variance, variance**2 / sum(term.variance**2 / term.degrees for term in terms))


class Comparison:
    """The comparison of a run's plans.

    A difference has the t distribution of Welch (1947), Biometrika 34:28, with the noise of both plans. The mean over
    draws of random groups has the variance of the draws' means, where that is larger than what trainings explain. With
    one training of each plan, ours can only be compared to several draws of random groups, as if it were one more.

    Args:
        plans: trainings of each plan, by name; all of the same tasks.

    Attributes:
        kept: (T,) whether every plan has a value for the task; the others are left out of all differences.
    """

    def __init__(self, plans: Mapping[str, Trainings]) -> None:
        values = [trainings.values for trainings in plans.values()]
        self.kept: np.ndarray = np.logical_and.reduce([np.isfinite(each).all(axis=1) for each in values])
        self._plans = {
            name: Trainings(each.values[self.kept], each.networks[self.kept], each.draws)
            for name, each in plans.items()
        }

    def difference(self, name: str, other: str) -> Difference:
        """Compare two plans.

        Returns:
            The difference name - other; NaN where there is no task that every plan has.
        """
        if not self.kept.any():
            return Difference(np.nan, np.nan, np.nan, 0, 0)
        one, two = self._plans[name], self._plans[other]
        by_task = one.values.mean(axis=1) - two.values.mean(axis=1)
        mean, helped, hurt = float(by_task.mean()), int((by_task > 0).sum()), int((by_task < 0).sum())
        noise = Noise.of_sum([noise_of(one), noise_of(two)])
        if noise.degrees == 0:
            noise = _of_one_more_draw(one, two)
        if noise.degrees == 0:
            return Difference(mean, np.nan, np.nan, helped, hurt)
        error = np.sqrt(noise.variance)
        margin = float(special.stdtrit(noise.degrees, 1 - LEVEL / 2) * error) if error > 0 else 0.0
        p_value = float(2 * special.stdtr(noise.degrees, -abs(mean) / error)) if error > 0 else float(mean == 0)
        trainings = trainings_needed(abs(mean), noise, one.values.shape[1])
        return Difference(mean, mean - margin, mean + margin, helped, hurt, p_value, trainings)


def noise_of(trainings: Trainings) -> Noise:
    """Estimate the noise of a plan's mean over tasks and trainings; unknown where a draw has one training."""
    draws = np.unique(trainings.draws)
    of_draws = [trainings.of_draw(draw) for draw in draws]
    n = len(draws)
    within = Noise.of_sum(Noise(noise.variance / n**2, noise.degrees) for noise in map(_noise_of_draw, of_draws))
    if n == 1 or within.degrees == 0:
        return within
    between = float(np.var([draw.values.mean() for draw in of_draws], ddof=1)) / n
    return Noise(between, n - 1) if between > within.variance else within


def _noise_of_draw(trainings: Trainings) -> Noise:
    """The noise of the mean over the trainings of one grouping: the sum over its networks, weighted by their tasks."""
    n_tasks, n_trainings = trainings.values.shape
    if n_trainings < 2:
        return Noise(np.nan, 0)
    terms = []
    for network in np.unique(trainings.networks):
        served = trainings.networks[:, 0] == network
        means = trainings.values[served].sum(axis=0) / n_tasks
        terms.append(Noise(float(np.var(means, ddof=1)) / n_trainings, n_trainings - 1))
    return Noise.of_sum(terms)


def _of_one_more_draw(one: Trainings, two: Trainings) -> Noise:
    """The noise of the difference of one training to several draws of random groups, as if it were one of them."""
    means = [two.of_draw(draw).values.mean() for draw in np.unique(two.draws)]
    if one.values.shape[1] > 1 or len(means) <= LEAST_DEGREES_OF_DRAWS:
        return Noise(np.nan, 0)
    return Noise(float(np.var(means, ddof=1)) * (1 + 1 / len(means)), len(means) - 1)


def holm(differences: Mapping[str, Difference]) -> dict[str, Difference]:
    """Adjust the p-values of comparisons that make one verdict, by Holm's step-down method (1979).

    With the adjusted values, the chance that any of the comparisons is called clear where no plans differ is `LEVEL`.
    """
    known = sorted((name for name, d in differences.items() if d.is_known), key=lambda name: differences[name].p_value)
    adjusted = dict(differences)
    highest = 0.0
    for rank, name in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * differences[name].p_value))
        adjusted[name] = replace(differences[name], p_value=highest)
    return adjusted


def trainings_needed(size: float, noise: Noise, n_trainings: int) -> int | None:
    """Return the number of trainings of each plan whose interval would exclude zero at a difference of this size.

    Args:
        noise: of the difference with `n_trainings` of each plan.
    """
    if not np.isfinite(noise.degrees):
        return None
    n = np.arange(2, MOST_TRAININGS + 1)
    degrees = np.maximum(1.0, noise.degrees * (n - 1) / max(1, n_trainings - 1))
    enough = special.stdtrit(degrees, 1 - LEVEL / 2) * np.sqrt(noise.variance * n_trainings / n) < size
    return int(n[enough.argmax()]) if enough.any() else None
