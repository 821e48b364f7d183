"""Groups of tasks: the artifact of the group stage (groups.json) and the schema of every plan (plans/PLAN.json)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from stg_ray.artifacts.evidence import NumberChoice, SelectionScore
from stg_ray.artifacts.notebook import html_table, listed
from stg_ray.errors import InputError, unknown
from stg_ray.shown import counted

Serving = Literal["argmax", "ensemble"]
"""Prediction of a task: by the network of the group that serves it, or by all that have it, weighted by membership."""

PARAMETERS = {
    "seed": "seed",
    "draw": "draw",
    "affinities": "affinities",
    "n_groups": "number_choice",
    "asked_for": "asked_for",
    "certainty": "certainty",
    "selection": "selection",
    "added": "added",
}
"""Fields of `Groups` that groups.json has under "parameters", by their keys there and in their order."""


@dataclass(frozen=True)
class Groups:
    """Groups of tasks that share a network, and how they were made.

    Attributes:
        tasks: names of all K tasks.
        groups: task names of each of the G groups; a task may be in several, and then helps those that do not serve it.
        membership: K x G; row t says how much task t belongs to each group, adding up to 1.
        serving: for each task the index of the group whose network serves it.
        method: name of the clusterer or plan.
        seed: of the clusterer's random starts, or of a random plan.
        draw: number of a random plan.
        affinities: weight of each affinity by its name.
        number_choice: how the number of groups was chosen, where it was not given.
        asked_for: number of groups that were asked for, where tasks that cannot be told apart leave fewer.
        certainty: share of the resampled affinities in which each task stays in its group, where there are any.
        selection: how good the groups are that were selected under a budget.
        added: tasks that joined the groups later.
        other: parameters of a file of another version, kept as they are.

    Example:
        >>> import numpy as np
        >>> groups = Groups.from_labels(["cat", "car", "dog"], np.array([0, 1, 0]), "by hand")
        >>> groups
        Groups(3 tasks in 2 groups of 2, 1; by hand)
        >>> groups.groups, groups.serving["car"], groups.membership[0]
        ([['cat', 'dog'], ['car']], 1, [1.0, 0.0])
    """

    tasks: list[str]
    groups: list[list[str]]
    membership: list[list[float]]
    serving: dict[str, int]
    method: str
    seed: int | None = None
    draw: int | None = None
    affinities: dict[str, float] | None = None
    number_choice: NumberChoice | None = None
    asked_for: int | None = None
    certainty: dict[str, float] | None = None
    selection: SelectionScore | None = None
    added: list[str] | None = None
    other: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_labels(
        cls,
        tasks: Sequence[str],
        labels: np.ndarray,
        method: str,
        *,
        membership: np.ndarray | None = None,
        members: np.ndarray | None = None,
    ) -> Groups:
        """Make groups from a label for each task, numbered by the first task that each group serves.

        Args:
            tasks: names of the K tasks.
            labels: (K,) of any type; equal labels are served by the same group.
            method: name of the clusterer or plan.
            membership: (K, G), columns in the order of the sorted labels; 1 for the group that serves, if not given.
            members: (G, K) boolean, rows in that order: the tasks of each group; those that it serves, if not given.

        Raises:
            InputError: not a label for each task.
        """
        if np.shape(labels) != (len(tasks),):
            raise InputError(f"labels of the shape {np.shape(labels)}: expected one for each of {len(tasks)} tasks")
        known, first, label = np.unique(labels, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.argsort(order)[label]
        membership = np.eye(len(known))[number] if membership is None else membership[:, order]
        members = number == np.arange(len(known))[:, None] if members is None else members[order]
        groups = [[tasks[t] for t in np.flatnonzero(row).tolist()] for row in members]
        serving = dict(zip(tasks, number.tolist(), strict=True))
        return cls(list(tasks), groups, membership.tolist(), serving, method)

    def with_tasks_permuted(self, order: np.ndarray, method: str) -> Groups:
        """Return groups of the same sizes, in which task t takes the place of task order[t].

        Nothing of how these groups were made is kept.
        """
        number = {task: t for t, task in enumerate(self.tasks)}
        members = np.array([np.isin(order, [number[task] for task in group]) for group in self.groups])
        used, labels = np.unique(self.labels[order], return_inverse=True)
        return Groups.from_labels(self.tasks, labels, method, members=members[used])

    @property
    def members(self) -> np.ndarray:
        """(G, K) boolean: which tasks are in each group."""
        return np.array([np.isin(self.tasks, group) for group in self.groups])

    def without_copies(self) -> Groups:
        """Return these groups with those of the same tasks as one: networks of them would be trained alike."""
        first = [self.groups.index(group) for group in self.groups]
        kept = sorted(set(first))
        membership = np.zeros((len(self.tasks), len(kept)))
        for g, original in enumerate(first):
            membership[:, kept.index(original)] += np.array(self.membership)[:, g]
        return replace(
            self,
            groups=[self.groups[g] for g in kept],
            membership=membership.tolist(),
            serving={task: kept.index(first[g]) for task, g in self.serving.items()},
        )

    def with_members_above(self, membership: float) -> Groups:
        """Return these groups with every task in each where its membership is this or more, and where it is served."""
        members = np.greater_equal(np.array(self.membership).T, membership)
        members[self.labels, np.arange(len(self.tasks))] = True
        groups = [[self.tasks[t] for t in np.flatnonzero(row).tolist()] for row in members]
        return replace(self, groups=groups)

    def serving_weights(self, serving: Serving) -> np.ndarray:
        """Return the weight of each group's network in the prediction of each task.

        Args:
            serving: argmax takes each task from the group that serves it; ensemble sums the outputs of all networks
                that have the task, weighted by its memberships (Sherif et al., STG-MTL).

        Returns:
            (K, G) weights, whose rows add up to 1.

        Raises:
            InputError: there is no such way of serving.
        """
        if serving not in get_args(Serving):
            raise InputError(unknown(str(serving), get_args(Serving), "way of serving"))
        served: np.ndarray = np.eye(len(self.groups))[self.labels]
        if serving == "argmax":
            return served
        has = np.array([np.isin(self.tasks, group) for group in self.groups]).T
        weights = np.where(has, np.array(self.membership, dtype=np.float64), 0.0)
        total = weights.sum(axis=1, keepdims=True)
        shares: np.ndarray = np.where(total > 0, weights / np.where(total > 0, total, 1.0), served)
        return shares

    @property
    def has_ensemble(self) -> bool:
        """Whether some task is predicted by several networks together, if they are asked to."""
        return bool(((self.serving_weights("ensemble") > 0).sum(axis=1) > 1).any())

    @property
    def labels(self) -> np.ndarray:
        """(K,) index of the group that serves each task."""
        return np.array([self.serving[task] for task in self.tasks])

    def mean_certainty(self, group: int) -> float | None:
        """Return the mean certainty of the tasks that a group serves; None where it is not known."""
        known = self.certainty
        served = [task for task, g in self.serving.items() if g == group and known and task in known]
        return sum(known[task] for task in served) / len(served) if known and served else None

    @property
    def was_looked_for(self) -> bool:
        """Whether the tasks were looked at for structure, so that a single group says that none was found."""
        is_given = self.selection is not None or self.asked_for is not None or self.method == "auxiliary"
        return not is_given and self.number_choice is not None and bool(self.number_choice.curve)

    @property
    def why_one(self) -> str:
        """The reason for a single group, as a clause."""
        if self.selection is not None:
            return "under this budget no other choice was better"
        if self.asked_for is not None:
            return "the tasks cannot be told apart by this method, or grouping.overlap_above puts all into each group"
        if self.method == "auxiliary":
            return "all tasks help each other"
        if self.number_choice is None:
            return "one was asked for"
        if not self.was_looked_for:
            return "there are too few tasks to tell"
        structure = self.number_choice.structure
        tested = f" ({structure}; grouping.min_groups=2 groups them all the same)" if structure else ""
        return f"no structure was found among the tasks{tested}"

    @property
    def is_at_bound(self) -> bool:
        """Whether the number of groups was chosen, and is the largest that was tried, though there are more tasks."""
        choice, n_groups = self.number_choice, len(self.groups)
        return choice is not None and 1 < n_groups < len(self.tasks) - 1 and n_groups == max(choice.curve, default=0)

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything on how the groups were made, in the form of groups.json under "parameters"."""
        values = {key: getattr(self, name) for key, name in PARAMETERS.items()}
        plain = {
            key: value.to_dict() if isinstance(value, NumberChoice | SelectionScore) else value
            for key, value in values.items()
            if value is not None
        }
        return {**plain, **self.other}

    def to_dict(self) -> dict[str, Any]:
        """Return the content of groups.json."""
        return {
            "tasks": self.tasks,
            "groups": self.groups,
            "membership": self.membership,
            "serving": self.serving,
            "method": self.method,
            "parameters": self.parameters,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Groups:
        """Read the content of groups.json; parameters that this version does not know are kept in `other`."""
        parameters = dict(values.get("parameters", {}))
        known = {name: parameters.pop(key) for key, name in PARAMETERS.items() if key in parameters}
        records: dict[str, type[NumberChoice] | type[SelectionScore]]
        records = {"n_groups": NumberChoice, "selection": SelectionScore}
        for key, record in records.items():
            name = PARAMETERS[key]
            if name in known and (read := _record(record, known[name])) is None:
                parameters[key] = known.pop(name)
            elif name in known:
                known[name] = read
        rest = {key: value for key, value in values.items() if key != "parameters"}
        return cls(**rest, **known, other=parameters)

    def __repr__(self) -> str:
        sizes = ", ".join(str(len(members)) for members in self.groups)
        groups = counted(len(self.groups), "group")
        return f"Groups({len(self.tasks)} tasks in {groups} of {sizes}; {self.method})"

    def _repr_html_(self) -> str:
        """Return a table of the groups for notebooks."""
        shares = [self.mean_certainty(g) for g in range(len(self.groups))]
        rows = [[str(g), listed(members)] for g, members in enumerate(self.groups)]
        header = ["group", "tasks"]
        if self.certainty is not None:
            header.append("certainty")
            rows = [[*row, "" if share is None else f"{share:.0%}"] for row, share in zip(rows, shares, strict=True)]
        return html_table(f"{len(self.tasks)} tasks, grouped by {self.method}", header, rows)


def _record(kind: type[NumberChoice] | type[SelectionScore], value: Any) -> NumberChoice | SelectionScore | None:
    """Read a record that holds the whole value; None where the value has another form."""
    try:
        record = kind.from_dict(value)
    except (KeyError, TypeError):
        return None
    return record if record.to_dict() == value else None
