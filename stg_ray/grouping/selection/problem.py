"""What a selection under a budget has to keep, and what it answers.

A task's score in a group is its mean affinity to the other members; alone it scores 0 (METHODS: Standley et al. 2020,
TAG: Fifty et al. 2021). Chosen are groups that together serve every task once, with the largest mean score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from stg_ray.errors import InputError


@dataclass(frozen=True)
class Conditions:
    """What the chosen groups must keep. Tasks are given by their positions.

    Attributes:
        networks: groups at most; no limit if None.
        cost: total cost at most, a group of s tasks costing `network_cost` + s `task_cost`; no limit if None.
        min_size, max_size: tasks of a group, at least and at most.
        together, apart: pairs of tasks; a group has both or none of the former, and never both of the latter.
        overlap: whether a task may be in several groups. One of them serves it, in the others it helps.
        names: of the tasks, for what is said of them.
    """

    networks: int | None = None
    cost: float | None = None
    network_cost: float = 1.0
    task_cost: float = 0.0
    min_size: int = 1
    max_size: int | None = None
    together: Sequence[tuple[int, int]] = field(default=())
    apart: Sequence[tuple[int, int]] = field(default=())
    overlap: bool = False
    names: Sequence[str] = field(default=())

    def cost_of(self, size: np.ndarray | int) -> np.ndarray | float:
        return self.network_cost + self.task_cost * size

    def largest(self, n_tasks: int) -> int:
        return min(n_tasks, self.max_size or n_tasks)

    def most_networks(self, n_tasks: int) -> int:
        """Groups that can be afforded: every task is in one at least, and no group is needed that serves no task."""
        most = n_tasks if self.networks is None else min(n_tasks, self.networks)
        if self.cost is not None and self.network_cost > 0:
            most = min(most, math.floor((self.cost - self.task_cost * n_tasks) / self.network_cost + 1e-9))
        return most

    def units(self, n_tasks: int) -> np.ndarray:
        """(K,) number of the unit of each task: the tasks that must be together, directly or through others.

        Raises:
            InputError: what must be together must also be apart, or is too large for any group; the budget pays for
                too few groups.
        """
        pairs = np.array(self.together, dtype=np.intp).reshape(-1, 2)
        links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_tasks, n_tasks))
        unit = connected_components(links, directed=False)[1]
        clash = [(a, b) for a, b in self.apart if unit[a] == unit[b]]
        if clash:
            a, b = (repr(self.names[t]) if self.names else t for t in clash[0])
            raise InputError(f"tasks {a} and {b} must be apart, but also together: leave one out")
        largest, most = self.largest(n_tasks), self.most_networks(n_tasks)
        if np.bincount(unit).max() > largest:
            raise InputError(f"{np.bincount(unit).max()} tasks must be together, but a group has {largest} at most")
        if not 1 <= self.min_size <= largest:
            raise InputError(f"groups of at least {self.min_size} and at most {largest} of {n_tasks} tasks: none")
        if most * largest < n_tasks:
            raise InputError(
                f"the budget pays for {max(most, 0)} groups of at most {largest} tasks, too few for {n_tasks} tasks: "
                "raise it, or max_size"
            )
        return unit


@dataclass(frozen=True)
class Selection:
    """The groups that were chosen, and how sure it is that none are better.

    Attributes:
        groups: positions of each group's tasks.
        serving: (K,) the group that serves each task.
        score: mean score of the tasks.
        bound: no choice that keeps the conditions has a larger mean score than this.
        method: how it was found: "all groups" (mixed-integer programme over every group) or "search".
    """

    groups: list[tuple[int, ...]]
    serving: np.ndarray
    score: float
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """How much better another choice could be at most; 0 where this one is proved best."""
        return max(0.0, self.bound - self.score) if not self.is_optimal else 0.0

    @property
    def is_optimal(self) -> bool:
        return self.bound - self.score <= 1e-7 * max(1.0, abs(self.bound))

    def to_dict(self) -> dict[str, Any]:
        values = {"score": self.score, "bound": self.bound, "gap": self.gap}
        rounded = {key: round(value, 6) for key, value in values.items()}
        return {**rounded, "optimal": self.is_optimal, "method": self.method}


def centred(affinity: np.ndarray) -> np.ndarray:
    """Minus the mean of its off-diagonal values, so that being alone (0) is as good as company taken at random."""
    off_diagonal = ~np.eye(len(affinity), dtype=bool)
    return np.where(off_diagonal, affinity - affinity[off_diagonal].mean(), 0)


def task_scores(affinity: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(n, K) score of each task in each of n groups, `members` (n, K) being boolean; NaN where it is no member."""
    sizes = members.sum(axis=1, keepdims=True)
    sums = members.astype(np.float64) @ np.where(np.eye(len(affinity), dtype=bool), 0, affinity).T
    return np.where(members, sums / np.maximum(sizes - 1, 1), np.nan)


def serve(members: np.ndarray, scores: np.ndarray, bound: float, method: str) -> Selection:
    """The selection of these groups, each task served where it scores best; groups that serve nobody are dropped."""
    serving = np.nanargmax(scores, axis=0)
    used, serving = np.unique(serving, return_inverse=True)
    score = float(np.nanmax(scores, axis=0).mean())
    groups = [tuple(np.flatnonzero(members[g]).tolist()) for g in used]
    return Selection(groups, serving, score, max(bound, score), method)
