"""Label matrices (N, K): missing labels, and the range of every column.

A missing label is `MISSING` (-1) in an integer matrix and NaN in a floating-point one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MISSING = -1
"""The label of a sample that a task has no label for, in an integer label matrix."""

BLOCK_LABELS = 2**22
"""Labels that are looked at together, so that a large matrix is never copied whole."""


def observed(labels: np.ndarray) -> np.ndarray:
    """Return where a label is present: boolean, of the shape of `labels`."""
    present: np.ndarray = ~np.isnan(labels) if labels.dtype.kind == "f" else labels != MISSING
    return present


@dataclass(frozen=True)
class Ranges:
    """The range of each column of labels: (K,) arrays, or scalars of one column.

    Attributes:
        count: how many labels are present.
        low, high: the smallest and the largest; infinite where there are none.
        whole: whether all are whole numbers.
    """

    count: Any
    low: Any
    high: Any
    whole: Any

    def of(self, t: int) -> Ranges:
        """Return the range of one column."""
        return Ranges(self.count[t], self.low[t], self.high[t], self.whole[t])


def ranges_of(labels: np.ndarray, rows: np.ndarray | None = None) -> Ranges:
    """Return the ranges of labels (N, K), in some rows or in all.

    Blocks of rows are looked at, as a single column is far apart in memory.
    """
    n_tasks = labels.shape[1]
    count = np.zeros(n_tasks, np.int64)
    low, high = np.full(n_tasks, np.inf), np.full(n_tasks, -np.inf)
    whole = np.ones(n_tasks, dtype=bool)
    n_rows = len(labels) if rows is None else len(rows)
    step = max(1, BLOCK_LABELS // n_tasks)
    for start in range(0, n_rows, step):
        block = labels[start : start + step] if rows is None else labels[rows[start : start + step]]
        present = observed(block)
        count += present.sum(axis=0)
        numbers = block.astype(np.float64)
        low = np.minimum(low, np.where(present, numbers, np.inf).min(axis=0))
        high = np.maximum(high, np.where(present, numbers, -np.inf).max(axis=0))
        if labels.dtype.kind == "f":
            whole &= (np.where(present, np.trunc(numbers) == numbers, True)).all(axis=0)
    return Ranges(count, low, high, whole)
