"""Episodes: small tasks of a task set, with support rows to adapt on and query rows to be judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from stg_ray.data.rows import MappedInputs, as_inputs
from stg_ray.errors import InputError
from stg_ray.tasks import Task, TaskSet, observed
from stg_ray.training.evaluation import taken

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The mean loss of outputs (n, O) for labels (n,)."""


def squared(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return half the mean squared error of outputs (n, 1) for labels (n,)."""
    return 0.5 * (outputs[:, 0] - labels).square().mean()


def entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy of logits (n, C) for classes (n,)."""
    return functional.cross_entropy(outputs, labels)


@dataclass(frozen=True)
class Episodes:
    """E episodes of one shape, which are adapted to side by side.

    Attributes:
        support: (E, s, ...) inputs.
        support_labels: (E, s) classes of the episode, from 0, or values.
        query: (E, q, ...) inputs.
        query_labels: (E, q).
        tasks: (E,) number of each episode's task among those that it was drawn from, where it was.
    """

    support: torch.Tensor
    support_labels: torch.Tensor
    query: torch.Tensor
    query_labels: torch.Tensor
    tasks: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, index: slice) -> Episodes:
        """Return some of the episodes."""
        return self._each(lambda tensor: tensor[index])

    def to(self, device: torch.device) -> Episodes:
        """Return the episodes on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Episodes:
        rows = [change(each) for each in (self.support, self.support_labels, self.query, self.query_labels)]
        return Episodes(rows[0], rows[1], rows[2], rows[3], None if self.tasks is None else change(self.tasks))

    @property
    def loss(self) -> Loss:
        """The loss of their labels: classes are whole numbers."""
        return squared if self.support_labels.is_floating_point() else entropy


@dataclass(frozen=True)
class Pool:
    """Rows that episodes are drawn from.

    Attributes:
        inputs: (n, ...), in memory or mapped.
        labels: (n, K) as stored, -1 or NaN where missing.
        rows: positions of the rows that may be drawn.
    """

    inputs: torch.Tensor | MappedInputs
    labels: np.ndarray
    rows: np.ndarray


class RowSampler:
    """Episodes of some tasks: each is of one of them, all of which are as frequent.

    Of a multi-class task an episode has `ways` of its classes in a random order, with `shots` support and `queries`
    query rows of each; of a binary task both classes, 0 first; of a regression `shots` and `queries` rows, whose values
    are standardised by the task's center and scale.

    Args:
        tasks: all of one kind.
        support: the rows that are adapted to; its labels have a column for each task.
        query: the rows that are judged by; other rows of `support` if None.
        ways: classes of an episode of a multi-class task.
        shots: support rows of each class.
        queries: query rows of each class.

    Raises:
        InputError: the tasks are of several kinds, or one has too few classes or rows for an episode.
    """

    def __init__(
        self, tasks: Sequence[Task], support: Pool, query: Pool | None, *, ways: int, shots: int, queries: int
    ) -> None:
        self.own, self.shots, self.queries = tuple(tasks), shots, queries
        kinds = {task.kind for task in tasks}
        if len(kinds) != 1:
            raise InputError(f"episodes of {', '.join(sorted(kinds))} tasks together: expected tasks of one kind")
        self.kind = kinds.pop()
        self.ways = {"multiclass": ways, "binary": 2, "regression": 1}[self.kind]
        self.apart = query is not None
        """Whether support and query rows are of two pools."""
        self.pools = (support, query or support)
        self.classes = [self._classes_of(t) for t in range(len(tasks))]

    def _classes_of(self, t: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The rows of both pools of each class that has enough for an episode; all rows of a regression."""
        labels = [pool.labels[pool.rows, t] for pool in self.pools]
        present = [observed(own) for own in labels]
        rows = [pool.rows[own] for pool, own in zip(self.pools, present, strict=True)]
        labels = [own[there] for own, there in zip(labels, present, strict=True)]
        if self.kind == "regression":
            found = [(rows[0], rows[1])]
        else:
            found = [(rows[0][labels[0] == c], rows[1][labels[1] == c]) for c in np.unique(labels[0])]
        least = (self.shots, self.queries) if self.apart else (self.shots + self.queries,) * 2
        enough = [own for own in found if len(own[0]) >= least[0] and len(own[1]) >= least[1]]
        if len(enough) < self.ways:
            need = f"{self.shots} support and {self.queries} query rows"
            if self.kind == "regression":
                there = f"{len(rows[0])} and {len(rows[1])}" if self.apart else f"{len(rows[0])}"
                raise InputError(
                    f"task {self.own[t].name!r} has {there} rows: an episode needs {need}; give fewer shots or queries"
                )
            raise InputError(
                f"task {self.own[t].name!r} has {len(enough)} of {len(found)} classes with {need}: an episode needs "
                f"{self.ways}; give fewer shots, queries, ways"
            )
        return enough

    def draw(self, n: int, rng: np.random.Generator) -> Episodes:
        """Draw n episodes."""
        tasks, support, query = rng.integers(len(self.own), size=n), [], []
        for number in tasks.tolist():
            own = self.classes[number]
            chosen = range(2) if self.kind == "binary" else rng.choice(len(own), self.ways, replace=False)
            rows = [self._rows(own[c], rng) for c in chosen]
            support.append(np.concatenate([each[0] for each in rows]))
            query.append(np.concatenate([each[1] for each in rows]))
        of_support = self._gathered(self.pools[0], np.stack(support), tasks, self.shots)
        of_query = self._gathered(self.pools[1], np.stack(query), tasks, self.queries)
        return Episodes(*of_support, *of_query, torch.from_numpy(tasks))

    def _gathered(
        self, pool: Pool, rows: np.ndarray, tasks: np.ndarray, each: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs (E, n, ...) and labels (E, n) of episodes' rows (E, n)."""
        inputs = taken(pool.inputs, torch.from_numpy(rows.ravel()))
        return inputs.reshape(*rows.shape, *inputs.shape[1:]), self._labels(pool, rows, tasks, each)

    def _rows(self, of_class: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Support and query rows of a class, none twice."""
        if self.apart:
            query = rng.choice(of_class[1], self.queries, replace=False)
            return rng.choice(of_class[0], self.shots, replace=False), query
        rows = rng.choice(of_class[0], self.shots + self.queries, replace=False)
        return rows[: self.shots], rows[self.shots :]

    def _labels(self, pool: Pool, rows: np.ndarray, tasks: np.ndarray, each: int) -> torch.Tensor:
        """The labels of episodes' rows (E, n): numbers of classes within the episode, or standardised values."""
        if self.kind != "regression":
            return torch.arange(self.ways).repeat_interleave(each).expand(len(rows), -1)
        of_tasks = [self.own[t] for t in tasks]
        center, scale = (np.array([getattr(task, key) for task in of_tasks])[:, None] for key in ("center", "scale"))
        return torch.from_numpy((pool.labels[rows, tasks[:, None]] - center) / scale).float()


class Sampler(RowSampler):
    """Episodes of some tasks of a task set, as a `RowSampler` draws them.

    Args:
        task_set: with rows of the splits.
        tasks: numbers of the tasks; all of one kind.
        split: train, val or test: of the support rows.
        query_split: of the query rows; other rows of `split` if None.
        ways: classes of an episode of a multi-class task.
        shots: support rows of each class.
        queries: query rows of each class.

    Raises:
        InputError: the tasks are of several kinds, or one has too few classes or rows for an episode.
    """

    def __init__(
        self,
        task_set: TaskSet,
        tasks: Sequence[int],
        split: str,
        *,
        ways: int,
        shots: int,
        queries: int,
        query_split: str | None = None,
    ) -> None:
        inputs, labels = as_inputs(task_set.inputs), task_set.labels[:, list(tasks)]
        pools = [
            None if each is None else Pool(inputs, labels, np.asarray(task_set.rows(each)))
            for each in (split, query_split)
        ]
        assert pools[0] is not None, "a split is named"
        own = [task_set.tasks[t] for t in tasks]
        super().__init__(own, pools[0], pools[1], ways=ways, shots=shots, queries=queries)
