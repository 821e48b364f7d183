"""Scores of networks' predictions, alone and together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config, MetricConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import HeldOut, together
from stg_ray.retraining.specs import SCORED, fold_of
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


def ensemble_scores(
    run: Storage, config: Config, plan: str, seed: int, folders: Sequence[str], device: str
) -> dict[str, Scores]:
    """Score a plan whose networks predict every task together, weighted by its memberships.

    Args:
        folders: of the networks of its groups, with their outputs on validation rows; without them it is scored on test
            rows only.

    Returns:
        Scores by split.
    """
    predictor = load_predictor(run, config, plan, seed, device)
    index, layout = read_index(run.sub("parts")), predictor.layout
    columns, fold = range(len(index.tasks)), fold_of(config, seed)
    rows = {split: TaskRows(run.sub("parts"), index, split, columns, fold) for split in SCORED}
    outputs = {"test": predictor.outputs(rows["test"].inputs, serving="ensemble")}
    if folders:
        weights = predictor.groups.serving_weights("ensemble")
        tasks = [network.layout.tasks for network in predictor.networks]
        own = zip(tasks, [HeldOut.read(run, folder) for folder in folders], strict=True)
        outputs["val"] = together(index.tasks, weights, own, index.n_samples("val"))[rows["val"].rows]
    return {split: scores_of(layout, outputs[split], rows[split].labels, config.metric) for split in outputs}
