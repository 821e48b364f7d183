"""The problem of a selection under a budget (`tasks.conditions`): the tasks' scores, and the answer.

A task's score in a group is its mean affinity to the other members; alone it scores 0 (Standley et al. 2020; TAG: Fifty
et al. 2021). Groups are chosen that together serve every task once, with the largest mean score. With the objective
`groups`, those of Principled Task Grouping, with the largest sum over groups of affinities between members / size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stg_ray.artifacts.evidence import DECIMALS, SelectionScore
from stg_ray.tasks.conditions import Conditions

AT_ONCE = 65_536
"""Groups whose values are computed at once."""


@dataclass(frozen=True)
class Selection:
    """The groups that were chosen, and a bound on how much better others could be.

    Attributes:
        groups: positions of each group's tasks.
        serving: (K,) index of the group that serves each task.
        score: mean score of the tasks.
        bound: no choice that keeps the conditions has a larger mean score than this.
        method: "all groups" (a mixed-integer programme over every group) or "search".

    Example:
        >>> import numpy as np
        >>> Selection([(0, 1), (2,)], np.array([0, 0, 1]), score=0.5, bound=0.75, method="search").gap
        0.25
    """

    groups: list[tuple[int, ...]]
    serving: np.ndarray
    score: float
    bound: float
    method: str

    @property
    def gap(self) -> float:
        """The most by which another choice could be better; 0 where this one is proved best."""
        return max(0.0, self.bound - self.score) if not self.is_optimal else 0.0

    @property
    def is_optimal(self) -> bool:
        """Whether no other choice is better, up to the solver's accuracy."""
        return self.bound - self.score <= 1e-7 * max(1.0, abs(self.bound))

    @property
    def evidence(self) -> SelectionScore:
        """The rounded numbers that groups.json keeps."""
        score, bound, gap = (round(value, DECIMALS) for value in (self.score, self.bound, self.gap))
        return SelectionScore(score, bound, gap, self.is_optimal, self.method)


def off_diagonal_centred(affinity: np.ndarray) -> np.ndarray:
    """Subtract the mean of the off-diagonal affinities (K, K): being alone (0) is then as good as random company."""
    off_diagonal = ~np.eye(len(affinity), dtype=bool)
    return np.where(off_diagonal, affinity - affinity[off_diagonal].mean(), 0)


def task_scores(affinity: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Compute the score of each task in each group.

    Args:
        affinity: (K, K); row a says how much task a gains from each other task.
        members: (n, K) boolean members of n groups.

    Returns:
        (n, K) scores; NaN where a task is no member.
    """
    sizes = members.sum(axis=1, keepdims=True)
    sums = members.astype(np.float64) @ np.where(np.eye(len(affinity), dtype=bool), 0, affinity).T
    return np.where(members, sums / np.maximum(sizes - 1, 1), np.nan)


def group_values(affinity: np.ndarray, members: np.ndarray, conditions: Conditions) -> np.ndarray:
    """Compute the values (n,) of groups (n, K): the affinities between their tasks, each shared by all or all others.

    Args:
        affinity: (K, K), 0 on the diagonal.
        members: boolean.
        conditions: with the objective.
    """
    values = np.empty(len(members))
    for start in range(0, len(members), AT_ONCE):
        inside = members[start : start + AT_ONCE].astype(np.float64)
        values[start : start + AT_ONCE] = ((inside @ affinity) * inside).sum(axis=1)
    shared: np.ndarray = values / conditions.shared_by(members.sum(axis=1))
    return shared


def serve(
    members: np.ndarray, scores: np.ndarray, bound: float, method: str, *, score: float | None = None
) -> Selection:
    """Serve each task in the group where it scores best; groups that serve no task are dropped.

    Args:
        members: (n, K) boolean members of the groups.
        scores: (n, K) scores of the tasks in them, NaN where a task is no member.
        bound: of the mean score of any choice.
        method: how the groups were chosen.
        score: of the groups, where it is not the mean of the tasks' scores.
    """
    serving = np.nanargmax(scores, axis=0)
    used, serving = np.unique(serving, return_inverse=True)
    score = float(np.nanmax(scores, axis=0).mean()) if score is None else score
    groups = [tuple(np.flatnonzero(members[g]).tolist()) for g in used]
    return Selection(groups, serving, score, max(bound, score), method)
