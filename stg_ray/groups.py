"""Groups of tasks: the artifact that grouping leaves (groups.json) and the schema of every plan (plans/PLAN.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Groups:
    """Which tasks share a network.

    Attributes:
        tasks: names of all K tasks.
        groups: task names of each of the G groups.
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
        cls, tasks: Sequence[str], labels: np.ndarray, method: str, parameters: dict[str, Any] | None = None
    ) -> Groups:
        """Hard groups from a label for each task; groups are numbered by their first task."""
        _, first = np.unique(labels, return_index=True)
        order = np.asarray(labels)[np.sort(first)]
        number = {label: g for g, label in enumerate(order.tolist())}
        serving = {task: number[label] for task, label in zip(tasks, np.asarray(labels).tolist(), strict=True)}
        groups = [[task for task in tasks if serving[task] == g] for g in range(len(number))]
        membership = np.eye(len(number))[[serving[task] for task in tasks]].tolist()
        return cls(list(tasks), groups, membership, serving, method, parameters or {})

    @property
    def labels(self) -> np.ndarray:
        """(K,) index of the group that serves each task."""
        return np.array([self.serving[task] for task in self.tasks])

    @property
    def why_one(self) -> str:
        """Why there is one group, where there is."""
        choice = self.parameters.get("n_groups")
        if choice is None:
            return "one was asked for"
        return "no structure was found among the tasks" if choice["curve"] else "there are too few tasks to tell"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Groups:
        return cls(**values)
