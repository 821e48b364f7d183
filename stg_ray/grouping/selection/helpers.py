"""Helpers: tasks in groups that do not serve them, where groups may overlap."""

from __future__ import annotations

import numpy as np

from stg_ray.grouping.selection.problem import task_scores
from stg_ray.tasks.conditions import Conditions


def add_helpers(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, members: np.ndarray) -> np.ndarray:
    """Add helpers to groups, and take units out, as long as the mean of the tasks' best scores grows.

    Args:
        affinity: (K, K), centred, 0 on the diagonal.
        unit: (K,) unit of each task.
        conditions: that the groups keep, before and after.
        members: (n, K) boolean members of groups that keep the conditions and serve every task.

    Returns:
        (n, K) boolean members.
    """
    members = members[members.any(axis=1)].copy()
    changes = _Changes(affinity, unit, conditions)
    while True:
        scores = np.nan_to_num(task_scores(affinity, members), nan=-np.inf)
        total = scores.max(axis=0).sum()
        best: tuple[float, int, np.ndarray] | None = None
        for g in range(len(members)):
            elsewhere = np.delete(scores, g, axis=0).max(axis=0, initial=-np.inf)
            changed, theirs = changes.of(members, g)
            if not len(changed):
                continue
            gains = np.maximum(theirs, elsewhere).sum(axis=1) - total
            if gains.max() > max(1e-9, best[0] if best else 0):
                best = (float(gains.max()), g, changed[gains.argmax()])
        if best is None:
            return members
        members[best[1]] = best[2]


class _Changes:
    """Changes of a group by one unit: a unit in it is taken out, any other is put in."""

    def __init__(self, affinity: np.ndarray, unit: np.ndarray, conditions: Conditions) -> None:
        self.affinity, self.conditions = affinity, conditions
        n_tasks = len(affinity)
        self.belongs = np.eye(int(unit.max()) + 1, dtype=bool)[:, unit]
        self.to_units = self.belongs @ affinity.T  # (units, K) affinity of each task to each unit
        self.weight = self.belongs.sum(axis=1)
        apart = np.zeros((n_tasks, n_tasks), dtype=bool)
        for a, b in conditions.pairs_apart:
            apart[a, b] = apart[b, a] = True
        self.against = np.float32(self.belongs @ apart)  # (units, K)

    def of(self, members: np.ndarray, g: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (c, K) the members of group g after each change that keeps the conditions, and the tasks' scores in
        it; -inf where a task is no member."""
        group = members[g]
        sign = np.where(group[self.belongs.argmax(axis=1)], -1, 1)
        sizes = group.sum() + sign * self.weight
        kept = (sizes >= self.conditions.min_size) & (sizes <= self.conditions.largest(len(group)))
        kept &= (sign < 0) | (self.against @ group == 0)
        if (most := self.conditions.networks_per_task) is not None:
            kept &= (sign < 0) | (members.sum(axis=0)[self.belongs.argmax(axis=1)] < most)
        if self.conditions.cost is not None:
            rest = self.conditions.cost_of(np.delete(members, g, axis=0).sum(axis=1)).sum()
            kept &= rest + self.conditions.cost_of(sizes) <= self.conditions.cost * (1 + 1e-12)
        changed = group ^ self.belongs[kept]
        sums = self.affinity @ group + sign[kept, None] * self.to_units[kept]
        return changed, np.where(changed, sums / np.maximum(sizes[kept] - 1, 1)[:, None], -np.inf)
