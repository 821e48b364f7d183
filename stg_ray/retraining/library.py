"""Outputs of several networks on validation rows, and the scores of what they predict together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from stg_ray.config import MetricConfig
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import halves
from stg_ray.tasks import Task, observed
from stg_ray.training.metrics import primary_score


class Library:
    """The outputs of networks on validation rows, and the scores of their ensembles.

    Args:
        tasks: all K tasks.
        labels: of each of S trainings, (N, K) as stored.
        positions: of each training, (N,) of the rows among its validation rows, by which they belong to a half.
        members: numbers of the tasks of each of L networks.
        outputs: of each network, (N, O) logits of its tasks, in each training; read one network at a time.
        metric: by which tasks are compared.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        labels: Sequence[np.ndarray],
        positions: Sequence[np.ndarray],
        members: Sequence[Sequence[int]],
        outputs: Iterable[Sequence[np.ndarray]],
        metric: MetricConfig,
    ) -> None:
        self.tasks, self.members, self.metric, self.positions = tasks, members, metric, positions
        self.rows = [[np.flatnonzero(observed(own[:, t])) for own in labels] for t in range(len(tasks))]
        """Of each task, the (n,) rows of each training that have a label for it."""
        self.labels = [
            [own[rows, t] for own, rows in zip(labels, self.rows[t], strict=True)] for t in range(len(tasks))
        ]
        self.layouts = [OutputLayout([task]) for task in tasks]
        self.n_trainings = len(labels)
        self.of_task: list[dict[int, list[np.ndarray]]] = [{} for _ in tasks]
        """Of each task, by network, the (n, o) outputs on its rows in each training."""
        for network, (own, trainings) in enumerate(zip(members, outputs, strict=True)):
            columns = OutputLayout([tasks[t] for t in own]).columns
            for t, of_own in zip(own, columns, strict=True):
                own_rows = zip(trainings, self.rows[t], strict=True)
                self.of_task[t][network] = [values[rows][:, of_own] for values, rows in own_rows]

    def predictions(self, task: int, counts: np.ndarray) -> list[np.ndarray]:
        """Return a task's predictions on its n rows in each training, by the networks with these counts (L,)."""
        weights = {network: counts[network] for network in self.of_task[task] if counts[network]}
        total = sum(weights.values())
        found = []
        for s in range(self.n_trainings if weights else 0):
            outputs = sum(weight * self.of_task[task][network][s] for network, weight in weights.items()) / total
            found.append(self.layouts[task].predictions(torch.from_numpy(np.asarray(outputs, dtype=np.float32)))[0])
        return [prediction.numpy() for prediction in found]

    def score(self, task: int, counts: np.ndarray) -> float:
        """Return a task's score, the mean over trainings, by the networks with these counts (L,); NaN without any."""
        predictions = self.predictions(task, counts)
        if not predictions:
            return float("nan")
        pairs = zip(predictions, self.labels[task], strict=True)
        scores = [primary_score(self.tasks[task], prediction, labels, self.metric) for prediction, labels in pairs]
        known = [score for score in scores if np.isfinite(score)]  # a fold may lack a class
        return float(np.mean(known)) if known else float("nan")

    def scores(self, counts: np.ndarray) -> np.ndarray:
        """Return the (K,) scores of all tasks."""
        return np.array([self.score(t, counts) for t in range(len(self.tasks))])

    def of_half(self, number: int) -> Library:
        """Return the same networks' outputs on one half of the rows, 0 or 1 (see `held_out.halves`)."""
        return self.of_rows(lambda positions: halves(positions)[number])

    def of_rows(self, select: Callable[[np.ndarray], np.ndarray]) -> Library:
        """Return the same networks' outputs on some of the rows.

        Args:
            select: returns whether rows (n,) are among them, by their positions among a training's validation rows.
        """
        some = copy.copy(self)
        mine = [
            [select(own[rows]) for own, rows in zip(self.positions, self.rows[t], strict=True)]
            for t in range(len(self.tasks))
        ]

        def chosen(trainings: list[np.ndarray], t: int) -> list[np.ndarray]:
            return [values[own] for values, own in zip(trainings, mine[t], strict=True)]

        some.rows = [chosen(rows, t) for t, rows in enumerate(self.rows)]
        some.labels = [chosen(labels, t) for t, labels in enumerate(self.labels)]
        some.of_task = [
            {network: chosen(trainings, t) for network, trainings in by_network.items()}
            for t, by_network in enumerate(self.of_task)
        ]
        return some

    def halves_of(self, task: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return which of a task's rows belong to each half, in each training."""
        return [halves(own[rows]) for own, rows in zip(self.positions, self.rows[task], strict=True)]
