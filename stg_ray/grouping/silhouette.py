"""The mean silhouette of the tasks in their groups (Rousseeuw 1987)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

MANY = 200
"""Below so many tasks, dense products are faster."""


def silhouettes(dissimilarity: np.ndarray, memberships: Sequence[np.ndarray]) -> list[float]:
    """Return the mean silhouette of the tasks for each of several groupings.

    It is -1 where all tasks are in one group. A task that is alone in its group has the silhouette 0.

    Args:
        dissimilarity: (K, K) of K tasks, 0 on the diagonal.
        memberships: (K, n) of each grouping; a task is in the group where its membership is largest.
    """
    rows = np.arange(len(dissimilarity))
    scores = []
    for u in memberships:
        labels = np.unique(u.argmax(axis=1), return_inverse=True)[1]
        sizes = np.bincount(labels)
        if len(sizes) == 1:
            scores.append(-1.0)
            continue
        members = np.eye(len(sizes), dtype=dissimilarity.dtype)[labels].T
        # One pass over the rows adds them, whatever the number of groups.
        group_sums = ((members if len(rows) < MANY else csr_array(members)) @ dissimilarity).T
        within = group_sums[rows, labels] / np.maximum(sizes[labels] - 1, 1)
        others = group_sums / sizes
        others[rows, labels] = np.inf
        nearest = others.min(axis=1)
        larger = np.maximum(np.maximum(within, nearest), 1e-300)
        scores.append(float(np.where(sizes[labels] > 1, (nearest - within) / larger, 0).mean()))
    return scores
