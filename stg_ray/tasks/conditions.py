"""Conditions on groups of tasks: the budget of `grouping.budget`, which selections and searches keep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any, Literal, cast

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from stg_ray.errors import InputError, unknown


@dataclass(frozen=True)
class Conditions:
    """Conditions that the chosen groups keep: the budget (`grouping.budget`), with the tasks that it is for.

    Attributes:
        networks: groups at most; no limit if None.
        cost: total cost at most, a group of s tasks costing `network_cost` + s `task_cost`; no limit if None.
        network_cost, task_cost: cost of a network, and of each task in it.
        min_size, max_size: tasks of a group, at least and at most.
        together: lists of tasks of which a group has all or none; a task is a position, or one of `names`.
        apart: lists of tasks of which a group has one at most.
        overlap: whether a task may be in several groups. One of them serves it, in the others it helps.
        networks_per_task: groups that a task is in at most, where they may overlap; no limit if None.
        objective: tasks, the mean of the tasks' scores in the groups that serve them; or groups, the sum over all
            groups of the affinities between their tasks, divided by their number (Wang et al., arXiv 2402.15328).
        names: of the K tasks, in the order of their positions.

    Example:
        >>> budget = {"networks": 2, "together": [["cat", "dog", "fox"]], "apart": [["cat", "car"]]}
        >>> conditions = Conditions.of(budget, ["car", "bus", "cat", "dog", "fox"])
        >>> conditions.pairs_together, conditions.pairs_apart
        ([(2, 3), (2, 4), (3, 4)], [(2, 0)])
        >>> conditions.most_networks(5)
        2
    """

    networks: int | None = None
    cost: float | None = None
    network_cost: float = 1.0
    task_cost: float = 0.0
    min_size: int = 1
    max_size: int | None = None
    together: Sequence[Sequence[int | str]] = ()
    apart: Sequence[Sequence[int | str]] = ()
    overlap: bool = False
    networks_per_task: int | None = None
    objective: Literal["tasks", "groups"] = "tasks"
    names: Sequence[str] = ()

    @classmethod
    def of(cls, budget: Mapping[str, Any] | Conditions, tasks: Sequence[str]) -> Conditions:
        """Return the conditions of a budget for these tasks, in this order.

        Args:
            budget: a mapping with the keys of `grouping.budget`, or conditions for the same tasks in another order.
            tasks: names of the K tasks.

        Raises:
            InputError: an unknown key or task, or conditions that contradict each other.
        """
        budget = cls.of_positions(budget)
        before = budget.names or tasks
        together, apart = (
            [[task if isinstance(task, str) else before[task] for task in listed] for listed in lists]
            for lists in (budget.together, budget.apart)
        )
        conditions = replace(budget, together=together, apart=apart, names=tuple(tasks))
        conditions.units(len(tasks))
        return conditions

    @classmethod
    def of_positions(cls, budget: Mapping[str, Any] | Conditions) -> Conditions:
        """Return the conditions of a budget whose tasks are positions, or names that are not looked up yet.

        Args:
            budget: a mapping with the keys of `grouping.budget`, or conditions, which are returned as they are.

        Raises:
            InputError: an unknown key.
        """
        if isinstance(budget, Conditions):
            return budget
        keys = [key.name for key in fields(cls)]
        for key in budget:
            if key not in keys:
                raise InputError(unknown(key, keys, "key of grouping.budget"))
        return cls(**budget)

    @property
    def pairs_together(self) -> list[tuple[int, int]]:
        """Positions of all pairs of tasks that must be together.

        Raises:
            InputError: a name is none of the tasks'.
        """
        return self._pairs("together")

    @property
    def pairs_apart(self) -> list[tuple[int, int]]:
        """Positions of all pairs of tasks that must be apart.

        Raises:
            InputError: a name is none of the tasks'.
        """
        return self._pairs("apart")

    def _pairs(self, key: str) -> list[tuple[int, int]]:
        position: dict[int | str, int] = {name: t for t, name in enumerate(self.names)}
        lists: Sequence[Sequence[int | str]] = getattr(self, key)
        for task in (task for listed in lists for task in listed):
            if isinstance(task, str) and task not in position:
                raise InputError(f"grouping.budget.{key}: {unknown(task, self.names, 'task')}")
        at = [[position.get(task, task) for task in listed] for listed in lists]
        return [pair for listed in at for pair in combinations(cast("list[int]", listed), 2)]

    def cost_of(self, size: np.ndarray) -> np.ndarray:
        """Return the costs of groups of these sizes, of the same shape."""
        return self.network_cost + self.task_cost * size

    @property
    def places_tasks(self) -> bool:
        """Whether it is open which of a task's groups counts for it."""
        return self.overlap and self.objective == "tasks"

    def shared_by(self, size: np.ndarray) -> np.ndarray:
        """Return by what the affinities within groups of these sizes are divided: all tasks, or all others."""
        shared: np.ndarray = np.maximum(size - (self.objective == "tasks"), 1)
        return shared

    def largest(self, n_tasks: int) -> int:
        """Return the most tasks that a group may have."""
        return min(n_tasks, self.max_size or n_tasks)

    def most_networks(self, n_tasks: int) -> int:
        """Return how many groups the budget pays for.

        Every task is in one group at least, and no group is needed that serves no task.
        """
        most = n_tasks if self.networks is None else min(n_tasks, self.networks)
        if self.cost is not None and self.network_cost > 0:
            most = min(most, math.floor((self.cost - self.task_cost * n_tasks) / self.network_cost + 1e-9))
        return most

    def numbers(self, n_tasks: int) -> tuple[int, int]:
        """Return the fewest and the most groups that tasks can be divided into, as far as sizes, costs and the lists
        of tasks to be apart tell; there may be none with so many."""
        n_units = int(self.units(n_tasks).max()) + 1
        fewest = max([-(-n_tasks // self.largest(n_tasks)), *(len(set(listed)) for listed in self.apart)])
        return fewest, min(self.most_networks(n_tasks), n_tasks // self.min_size, n_units)

    def allows(self, members: np.ndarray) -> np.ndarray:
        """Return which of the groups (..., K), boolean, keep the conditions on a single group: (...,) boolean."""
        size = members.sum(axis=-1)
        allowed = (size >= self.min_size) & (size <= self.largest(members.shape[-1]))
        for a, b in self.pairs_together:
            allowed &= members[..., a] == members[..., b]
        for a, b in self.pairs_apart:
            allowed &= ~(members[..., a] & members[..., b])
        return np.asarray(allowed)

    def broken_by(self, members: np.ndarray) -> str:
        """Say which condition the networks of a plan break; empty where they keep all.

        Whether tasks may be in several networks is not asked: it is about helpers, not about ensembles.

        Args:
            members: (G, K), boolean.
        """
        size = members.sum(axis=1)
        largest, cost = self.largest(members.shape[1]), float(self.cost_of(size).sum())
        if self.networks is not None and len(members) > self.networks:
            return f"{len(members)} networks, and {self.networks} are allowed"
        if self.cost is not None and cost > self.cost + 1e-9:
            return f"a cost of {cost:g}, and {self.cost:g} is allowed"
        if size.max() > largest or size.min() < self.min_size:
            odd = size.max() if size.max() > largest else size.min()
            return f"a network of {odd} tasks, and {self.min_size} to {largest} are allowed"
        for pairs, are_together, must in ((self.pairs_together, False, "together"), (self.pairs_apart, True, "apart")):
            for a, b in pairs:
                both = members[:, a] & members[:, b]
                if (both if are_together else members[:, a] != members[:, b]).any():
                    named = [repr(self.names[t]) if self.names else str(t) for t in (a, b)]
                    return f"{' and '.join(named)} must be {must}"
        return ""

    def units(self, n_tasks: int) -> np.ndarray:
        """Return the unit of each task: tasks that must be together, directly or through others, are one unit.

        Returns:
            (K,) number of each task's unit.

        Raises:
            InputError: tasks that must be together must also be apart, or are too many for any group; the budget pays
                for too few groups.
        """
        pairs = np.array(self.pairs_together, dtype=np.intp).reshape(-1, 2)
        links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_tasks, n_tasks))
        unit: np.ndarray = connected_components(links, directed=False)[1]
        clash = [(a, b) for a, b in self.pairs_apart if unit[a] == unit[b]]
        if clash:
            a, b = (repr(self.names[t]) if self.names else t for t in clash[0])
            raise InputError(f"tasks {a} and {b} must be apart, but also together: leave one out")
        largest, most = self.largest(n_tasks), self.most_networks(n_tasks)
        if np.bincount(unit).max() > largest:
            raise InputError(f"{np.bincount(unit).max()} tasks must be together, but a group has {largest} at most")
        if self.networks_per_task is not None and not self.overlap:
            raise InputError("grouping.budget.networks_per_task limits groups that overlap: set overlap: true, too")
        if not 1 <= self.min_size <= largest:
            raise InputError(f"groups of at least {self.min_size} and at most {largest} of {n_tasks} tasks: none")
        if most * largest < n_tasks:
            raise InputError(
                f"the budget pays for {max(most, 0)} groups of at most {largest} tasks, too few for {n_tasks} tasks: "
                "raise it, or max_size"
            )
        return unit
