"""The overlap of tasks: the rows that are labelled for two of them."""

from __future__ import annotations

import numpy as np

from stg_ray.tasks import observed

ROWS_OF_SHARES = 10_000
"""Rows by which the shares of common rows are estimated."""
BLOCK_ROWS = 4096
"""Rows that are looked at together."""


def common_pairs(labels: np.ndarray, rows: np.ndarray) -> float:
    """Return the share of the pairs of tasks that have rows labelled for both."""
    n_tasks = labels.shape[1]
    common = np.zeros((n_tasks, n_tasks), dtype=bool)
    for start in range(0, len(rows), BLOCK_ROWS):
        present = observed(labels[rows[start : start + BLOCK_ROWS]])
        if present.all():
            return 1.0
        counts = present.T.astype(np.float32) @ present.astype(np.float32)
        common |= counts > 0
        if common.all():
            return 1.0
    return float(common[np.triu_indices(n_tasks, 1)].mean())


def common_share(labels: np.ndarray, rows: np.ndarray) -> float | None:
    """Return the median over pairs of tasks of their common rows, as a share of those of the task with fewer."""
    # The rows of a task set may be in any order: every so many of them.
    present = observed(labels[rows[:: max(1, len(rows) // ROWS_OF_SHARES)]]).astype(np.float32)
    if present.all() or labels.shape[1] == 1:
        return None
    common = present.T @ present
    counts = np.diag(common)
    fewer = np.minimum(counts[:, None], counts)
    upper = np.triu_indices(len(common), 1)
    return float(np.median(common[upper] / np.maximum(fewer[upper], 1)))
