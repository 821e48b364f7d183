"""Does a plan do better than another? A paired bootstrap over tasks and trainings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """Mean difference with its 95 % interval, and how many tasks are helped and hurt (by the mean over trainings)."""

    mean: float
    low: float
    high: float
    helped: int
    hurt: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def paired_difference(
    values: np.ndarray, baseline: np.ndarray, *, n_resamples: int = 10_000, seed: int = 0
) -> Difference:
    """Compare two plans task by task.

    Args:
        values: (T, S) metric of T tasks in S trainings (seeds, or seeds and draws of random groups).
        baseline: (T, B) metric of the same tasks in B trainings of the baseline.
        n_resamples: bootstrap samples; each draws tasks, and trainings of either side, with replacement.

    Returns:
        The mean of (values - baseline) over tasks and trainings. Tasks with a NaN on either side are left out.
    """
    kept = ~(np.isnan(values).any(axis=1) | np.isnan(baseline).any(axis=1))
    values, baseline = values[kept], baseline[kept]
    n_tasks = len(values)
    if n_tasks == 0:
        return Difference(np.nan, np.nan, np.nan, 0, 0)
    by_task = values.mean(axis=1) - baseline.mean(axis=1)
    rng = np.random.default_rng([seed, 6])
    # A draw of tasks is a vector of weights, likewise one of trainings: the mean of a draw is t' V s.
    tasks = rng.multinomial(n_tasks, np.full(n_tasks, 1 / n_tasks), n_resamples) / n_tasks
    means = []
    for side in (values, baseline):
        n = side.shape[1]
        trainings = rng.multinomial(n, np.full(n, 1 / n), n_resamples) / n
        means.append(np.einsum("rt,ts,rs->r", tasks, side, trainings, optimize=True))
    low, high = np.quantile(means[0] - means[1], (0.025, 0.975))
    return Difference(
        float(by_task.mean()), float(low), float(high), int((by_task > 0).sum()), int((by_task < 0).sum())
    )
