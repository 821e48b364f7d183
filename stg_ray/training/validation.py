"""The score by which the epochs of a training are compared: the mean primary metric on the validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stg_ray.config import MetricConfig
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
        layout = trainer.network.layout
        predictions = layout.predictions(trainer.evaluate(self.inputs))
        values = []
        for t, (task, prediction) in enumerate(zip(layout.tasks, predictions, strict=True)):
            labelled = observed(self.labels[:, t])
            values.append(primary_score(task, prediction.numpy()[labelled], self.labels[labelled, t], self.metric))
        defined = ~np.isnan(values) & (self.weights > 0)
        if not defined.any():
            return -math.inf
        return float(np.average(np.array(values)[defined], weights=self.weights[defined]))
