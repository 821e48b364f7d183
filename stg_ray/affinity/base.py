"""What an estimator of affinities is, and the sums that all of them return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from stg_ray.task_matrix import Kind, TaskMatrix

Partial = dict[str, np.ndarray]


class PartEstimator(Protocol):
    """Computes an affinity a part at a time. It is built in the actors, which then call `partial`."""

    kind: Kind

    def partial(self, number: int) -> Partial:
        """K x K sums of one training part, in float64."""
        ...

    @classmethod
    def combine(cls, partials: Sequence[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        """The matrix from all parts' sums, added in part order, and its standard errors (K, K)."""
        ...


def ratio_of_sums(partials: Sequence[Partial], total: str, count: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean per sample over all parts, and its standard error from the scatter of the parts about it.

    With part sums s_p and counts n_p the mean is r = sum s_p / sum n_p; its variance that of a ratio estimator,
    P/(P-1) sum (s_p - r n_p)^2 / (sum n_p)^2 (Cochran, Sampling Techniques, section 6.4). NaN where no sample is
    labelled for both tasks; the error is NaN if there is one part only.
    """
    sums = np.stack([partial[total] for partial in partials])
    counts = np.stack([partial[count] for partial in partials])
    n = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = sums.sum(axis=0) / n
        scatter = np.square(sums - ratio * counts).sum(axis=0)
        p = len(partials)
        error = np.sqrt(scatter * p / (p - 1)) / n if p > 1 else np.full_like(ratio, np.nan)
    return ratio, error
