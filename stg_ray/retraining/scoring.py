"""Scores of networks' predictions, alone and together."""

from __future__ import annotations

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config, MetricConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.retraining.specs import SCORED
from stg_ray.serving import load_predictor
from stg_ray.tasks import observed
from stg_ray.training.metrics import DEFAULT, all_scores

Scores = dict[str, dict[str, float]]
"""Metrics by task and by name; NaN where a metric is not defined."""


def scores_of(
    layout: OutputLayout, outputs: torch.Tensor, labels: np.ndarray, metric: MetricConfig = DEFAULT
) -> Scores:
    """Compute all metrics of the layout's K tasks, each on the rows that have a label for it.

    Args:
        outputs: (N, O) on the CPU.
        labels: (N, K) as stored, -1 or NaN where missing.
        metric: by which tasks are compared.
    """
    scores = {}
    for t, (task, prediction) in enumerate(zip(layout.tasks, layout.predictions(outputs), strict=True)):
        rows = observed(labels[:, t])
        scores[task.name] = all_scores(task, prediction.numpy()[rows], labels[rows, t], metric)
    return scores


def ensemble_scores(run: Storage, config: Config, plan: str, seed: int, device: str) -> dict[str, Scores]:
    """Score a plan whose networks predict every task together, weighted by its memberships; scores by split."""
    predictor = load_predictor(run, config, plan, seed, device)
    index = read_index(run.sub("parts"))
    scores = {}
    for split in SCORED:
        part = TaskRows(run.sub("parts"), index, split, range(len(index.tasks)))
        outputs = predictor.outputs(part.inputs, serving="ensemble")
        scores[split] = scores_of(predictor.layout, outputs, part.labels, config.metric)
    return scores
