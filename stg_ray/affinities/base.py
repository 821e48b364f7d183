"""What an estimator of affinities is, and the sums that all of them return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from stg_ray.artifacts.task_matrix import Kind, TaskMatrix

if TYPE_CHECKING:
    from stg_ray.affinities.source import Source

Partial = dict[str, np.ndarray]


class Estimator(ABC):
    """Computes an affinity a unit at a time: a training part, unless it says otherwise. It is built in the actors,
    which then call `partial`.

    `kind` says what its values mean, `about` is its line in the report; where `units_are_parts`, what it returns adds
    over parts, and its errors are those of resampled parts.
    """

    kind: ClassVar[Kind]
    about: ClassVar[str]
    units_are_parts: ClassVar[bool] = True

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def n_units(cls, source: Source) -> int:
        """How many units there are; it does not depend on the cluster."""
        return source.index.n_parts()

    @abstractmethod
    def partial(self, number: int) -> Partial:
        """K x K sums of one unit, in float64, and `samples`, the number of training rows that were used."""

    @classmethod
    @abstractmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        """The matrix from the units' sums, added in their order, and its standard errors (K, K)."""


def ratio_of_sums(partials: Iterable[Partial], total: str, count: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean per sample over all parts, its standard error from the scatter of the parts about it, and the samples used.

    With part sums s_p and counts n_p the mean is r = sum s_p / sum n_p; its variance that of a ratio estimator,
    P/(P-1) sum (s_p - r n_p)^2 / (sum n_p)^2 (Cochran, Sampling Techniques, section 6.4). The sum of squares is kept
    expanded, so that one part is in memory at a time. NaN where no sample is labelled for both tasks; the error is NaN
    if there is one part only.
    """
    s = n = ss = sn = nn = np.zeros(())
    n_parts = samples = 0
    for partial in partials:
        own_sum, own_count = partial[total], partial[count]
        s, n = s + own_sum, n + own_count
        ss, sn, nn = ss + own_sum**2, sn + own_sum * own_count, nn + own_count**2
        n_parts += 1
        samples += int(partial["samples"])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = s / n
        scatter = np.maximum(ss - 2 * ratio * sn + ratio**2 * nn, 0)
        error = np.sqrt(scatter * n_parts / (n_parts - 1)) / n if n_parts > 1 else np.full_like(ratio, np.nan)
    return ratio, np.where(np.isnan(ratio), np.nan, error), samples
