"""Groups of tasks: the artifact that grouping leaves (groups.json) and the schema of every plan (plans/PLAN.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

Serving = Literal["argmax", "ensemble"]
"""Who predicts a task: the network of the group that serves it, or all that have it, by membership."""


@dataclass(frozen=True)
class Groups:
    """Which tasks share a network.

    Attributes:
        tasks: names of all K tasks.
        groups: task names of each of the G groups; a task may be in several, and then helps those that do not serve it.
        membership: K x G; row t says how much task t belongs to each group, adding up to 1.
        serving: for each task the index of the group whose network serves it.
        method, parameters: how it was found.
    """

    tasks: list[str]
    groups: list[list[str]]
    membership: list[list[float]]
    serving: dict[str, int]
    method: str
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_labels(
        cls,
        tasks: Sequence[str],
        labels: np.ndarray,
        method: str,
        parameters: dict[str, Any] | None = None,
        *,
        membership: np.ndarray | None = None,
        members: np.ndarray | None = None,
    ) -> Groups:
        """Groups from a label for each task, the group that serves it; numbered by the first task they serve.

        Args:
            labels: (K,) of any type.
            membership: (K, G), columns in the order of the sorted labels; 1 for the group that serves, if not given.
            members: (G, K) boolean, rows in that order: which tasks each group has; those that it serves, if not given.
        """
        known, first, label = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.argsort(order)[label]
        membership = np.eye(len(known))[number] if membership is None else membership[:, order]
        members = number == np.arange(len(known))[:, None] if members is None else members[order]
        groups = [[tasks[t] for t in np.flatnonzero(own).tolist()] for own in members]
        serving = dict(zip(tasks, number.tolist(), strict=True))
        return cls(list(tasks), groups, membership.tolist(), serving, method, parameters or {})

    def with_tasks_permuted(self, order: np.ndarray, method: str, parameters: dict[str, Any]) -> Groups:
        """Groups of the same sizes, in which task t takes the place of task order[t]."""
        number = {task: t for t, task in enumerate(self.tasks)}
        members = np.array([np.isin(order, [number[task] for task in own]) for own in self.groups])
        used, labels = np.unique(self.labels[order], return_inverse=True)
        return Groups.from_labels(self.tasks, labels, method, parameters, members=members[used])

    def with_members_above(self, membership: float) -> Groups:
        """These groups, but every task in each where its membership is this or more, and in the one that serves it."""
        members = np.greater_equal(np.array(self.membership).T, membership)
        members[self.labels, np.arange(len(self.tasks))] = True
        groups = [[self.tasks[t] for t in np.flatnonzero(own).tolist()] for own in members]
        return replace(self, groups=groups)

    def serving_weights(self, serving: Serving) -> np.ndarray:
        """(K, G) weight of each group's network in what is predicted for a task; rows add up to 1.

        Args:
            serving: argmax takes each task from the group that serves it; ensemble sums the outputs of all networks
                that have the task, weighted by its memberships (Sherif et al., STG-MTL).
        """
        served = np.eye(len(self.groups))[self.labels]
        if serving == "argmax":
            return served
        has = np.array([np.isin(self.tasks, own) for own in self.groups]).T
        weights = np.where(has, np.array(self.membership, dtype=np.float64), 0.0)
        total = weights.sum(axis=1, keepdims=True)
        return np.where(total > 0, weights / np.where(total > 0, total, 1.0), served)

    @property
    def has_ensemble(self) -> bool:
        """Whether some task is predicted by several networks together, if they are asked to."""
        return bool(((self.serving_weights("ensemble") > 0).sum(axis=1) > 1).any())

    @property
    def labels(self) -> np.ndarray:
        """(K,) index of the group that serves each task."""
        return np.array([self.serving[task] for task in self.tasks])

    def certainty(self, group: int) -> float | None:
        """Mean share of the resampled affinities in which the tasks that a group serves stay in it, where known."""
        known = self.parameters.get("certainty")
        served = [task for task, g in self.serving.items() if g == group and known and task in known]
        return sum(known[task] for task in served) / len(served) if known and served else None

    @property
    def why_one(self) -> str:
        """Why there is one group, where there is."""
        if "selection" in self.parameters:
            return "under this budget no other choice was better"
        if "asked_for" in self.parameters:
            return "the tasks cannot be told apart by this method"
        choice = self.parameters.get("n_groups")
        if choice is None:
            return "one was asked for"
        return "no structure was found among the tasks" if choice["curve"] else "there are too few tasks to tell"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Groups:
        return cls(**values)
