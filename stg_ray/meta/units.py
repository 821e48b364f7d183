"""The center and scale of a new regression's values, of which a few rows tell little and the tasks of the run more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stg_ray.tasks import Task

CONTRADICTION = 3.0
"""Standard errors between the rows and the tasks of the run from which on the rows alone are believed: another unit."""


def center_and_scale(values: np.ndarray, tasks: Sequence[Task]) -> tuple[float, float]:
    """Estimate by which center and scale a new task's values (n,) are to be standardised.

    Each lies between that of these rows and the mean over the tasks of the run, weighted by how well they are known
    (empirical Bayes): where the tasks have one unit, a few rows hardly count; where each has its own, they count alone.

    Args:
        values: of the new task.
        tasks: of the run, with the centers and scales of their training rows.

    Example:
        >>> alike = [Task(f"t{i}", "regression", center=0.0, scale=1.0) for i in range(5)]
        >>> center_and_scale(np.array([0.3, 0.9, -0.2, 0.8]), alike)
        (0.0, 1.0)
        >>> center, scale = center_and_scale(np.array([900.0, 1100.0, 1000.0, 1040.0]), alike)
        >>> round(center), round(scale)
        (1010, 84)
    """
    n, known = len(values), np.array([[task.center, math.log(task.scale)] for task in tasks])
    (center, log_scale), spread = known.mean(axis=0), known.var(axis=0)
    deviation = float(values.std(ddof=1)) if n > 1 else 0.0
    if deviation > 0:
        log_scale = _between(math.log(deviation), 1 / (2 * (n - 1)), log_scale, spread[1])
    scale = math.exp(log_scale)
    return _between(float(values.mean()), scale**2 / n, center, spread[0]), scale


def _between(own: float, own_variance: float, others: float, others_variance: float) -> float:
    """What is between the estimate of some rows and the mean of the tasks."""
    total = own_variance + others_variance
    if abs(own - others) > CONTRADICTION * math.sqrt(total):
        return own
    return float(others + (own - others) * others_variance / total)
