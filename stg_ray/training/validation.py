"""The score by which the epochs of a training are compared: the mean primary metric on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.config import MetricConfig
from stg_ray.models import OutputLayout
from stg_ray.tasks import Task, observed
from stg_ray.training.evaluation import Inputs
from stg_ray.training.metrics import DEFAULT, is_scorable, primary_score
from stg_ray.training.trainer import Trainer


@dataclass(frozen=True)
class Validation:
    """The validation rows of a network.

    Attributes:
        inputs: (n, ...) raw inputs.
        labels: (n, K) labels as stored: -1 or NaN where missing.
        weights: (K,) of the tasks in the mean; those of their losses.
        metric: by the kind of task.
    """

    inputs: Inputs
    labels: np.ndarray
    weights: np.ndarray
    metric: MetricConfig = DEFAULT

    def has_score(self, tasks: Sequence[Task]) -> bool:
        """Whether one of the K tasks that counts has enough labels here for its primary metric."""
        columns = zip(tasks, self.labels.T, self.weights, strict=True)
        return any(weight > 0 and is_scorable(task, labels[observed(labels)]) for task, labels, weight in columns)

    def score(self, trainer: Trainer) -> float:
        """Return the weighted mean primary metric of the network as it is now; -inf if no task that counts has one."""
        everything = np.ones(len(self.labels), dtype=bool)
        return self.scores_of(trainer.network.layout, trainer.evaluate(self.inputs), [everything])[0]

    def scores_of(self, layout: OutputLayout, outputs: torch.Tensor, parts: Sequence[np.ndarray]) -> list[float]:
        """Return the score, as `score` does, of some outputs (n, O) on each part of the rows, (n,) boolean."""
        predictions = [prediction.numpy() for prediction in layout.predictions(outputs)]
        return [self._mean(layout.tasks, predictions, part) for part in parts]

    def _mean(self, tasks: Sequence[Task], predictions: Sequence[np.ndarray], part: np.ndarray) -> float:
        values = []
        for task, prediction, labels in zip(tasks, predictions, self.labels.T, strict=True):
            rows = observed(labels) & part
            values.append(primary_score(task, prediction[rows], labels[rows], self.metric))
        defined = ~np.isnan(values) & (self.weights > 0)
        if not defined.any():
            return -math.inf
        return float(np.average(np.array(values)[defined], weights=self.weights[defined]))
