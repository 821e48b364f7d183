"""A column of labels beside one of halves, as a task set understands it."""

from __future__ import annotations

from typing import Any

import numpy as np

from stg_ray.tasks import Task, TaskSet

N = 60
INPUTS = np.random.default_rng(0).normal(size=(N, 2))
HALF = np.arange(N) % 2
NAN = float("nan")


def repeated(*values: Any) -> list[Any]:
    """N rows of these values, one after the other."""
    return [values[i % len(values)] for i in range(N)]


def task_and_labels(column: Any, **options: Any) -> tuple[Task, list[float | None]]:
    """The task of a column beside one of halves, and its labels with None for missing."""
    task_set = TaskSet.from_arrays(INPUTS, {"half": HALF, "it": column}, **options)
    labels = task_set.labels[:, 1].astype(float)
    return task_set.tasks[1], [None if np.isnan(v) or v < 0 else float(v) for v in labels]
