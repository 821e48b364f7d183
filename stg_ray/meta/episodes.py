"""Episodes: small tasks of a task set, with support rows to adapt on and query rows to be judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet, observed

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
    """

    support: torch.Tensor
    support_labels: torch.Tensor
    query: torch.Tensor
    query_labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, index: slice) -> Episodes:
        """Return some of the episodes."""
        return Episodes(self.support[index], self.support_labels[index], self.query[index], self.query_labels[index])

    @property
    def loss(self) -> Loss:
        """The loss of their labels: classes are whole numbers."""
        return squared if self.support_labels.is_floating_point() else entropy


class Sampler:
    """Episodes of some tasks of a task set: each is of one task, all of which are as frequent.

    Of a multi-class task an episode has `ways` of its classes in a random order, with `shots` support and `queries`
    query rows of each; of a binary task both classes; of a regression `shots` and `queries` rows, whose values are
    standardised by the task's center and scale.

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
        self.task_set, self.shots, self.queries = task_set, shots, queries
        kinds = {task_set.tasks[t].kind for t in tasks}
        if len(kinds) != 1:
            raise InputError(f"episodes of {', '.join(sorted(kinds))} tasks together: expected tasks of one kind")
        self.kind = kinds.pop()
        self.ways = {"multiclass": ways, "binary": 2, "regression": 1}[self.kind]
        self.inputs = torch.from_numpy(np.asarray(task_set.inputs))
        self.apart = query_split is not None
        """Whether support and query rows are of two splits."""
        splits = (split, query_split or split)
        self.classes = [self._classes_of(t, [np.asarray(task_set.rows(each)) for each in splits]) for t in tasks]
        self.tasks = list(tasks)

    def _classes_of(self, task: int, splits: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The rows of both splits of each class that has enough for an episode; all rows of a regression."""
        labels = self.task_set.labels[:, task]
        rows = [own[observed(labels[own])] for own in splits]
        if self.kind == "regression":
            found = [(rows[0], rows[1])]
        else:
            present = np.unique(labels[rows[0]])
            found = [(rows[0][labels[rows[0]] == c], rows[1][labels[rows[1]] == c]) for c in present]
        least = (self.shots, self.queries) if self.apart else (self.shots + self.queries,) * 2
        enough = [own for own in found if len(own[0]) >= least[0] and len(own[1]) >= least[1]]
        if len(enough) < self.ways:
            raise InputError(
                f"task {self.task_set.tasks[task].name!r} has {len(enough)} of {len(found)} classes with {self.shots} "
                f"support and {self.queries} query rows: an episode needs {self.ways}; give fewer shots, queries, ways"
            )
        return enough

    def draw(self, n: int, rng: np.random.Generator) -> Episodes:
        """Draw n episodes."""
        tasks, support, query = rng.integers(len(self.tasks), size=n), [], []
        for number in tasks.tolist():
            own = self.classes[number]
            rows = [self._rows(own[c], rng) for c in rng.choice(len(own), self.ways, replace=False)]
            support.append(np.concatenate([each[0] for each in rows]))
            query.append(np.concatenate([each[1] for each in rows]))
        numbers = np.array(self.tasks)[tasks]
        return Episodes(
            self.inputs[np.stack(support)],
            self._labels(np.stack(support), numbers, self.shots),
            self.inputs[np.stack(query)],
            self._labels(np.stack(query), numbers, self.queries),
        )

    def _rows(self, of_class: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Support and query rows of a class, none twice."""
        if self.apart:
            query = rng.choice(of_class[1], self.queries, replace=False)
            return rng.choice(of_class[0], self.shots, replace=False), query
        rows = rng.choice(of_class[0], self.shots + self.queries, replace=False)
        return rows[: self.shots], rows[self.shots :]

    def _labels(self, rows: np.ndarray, tasks: np.ndarray, each: int) -> torch.Tensor:
        """The labels of episodes' rows (E, n): numbers of classes within the episode, or standardised values."""
        if self.kind != "regression":
            return torch.arange(self.ways).repeat_interleave(each).expand(len(rows), -1)
        of_tasks = [self.task_set.tasks[t] for t in tasks]
        center, scale = (np.array([getattr(task, key) for task in of_tasks])[:, None] for key in ("center", "scale"))
        return torch.from_numpy((self.task_set.labels[rows, tasks[:, None]] - center) / scale).float()
