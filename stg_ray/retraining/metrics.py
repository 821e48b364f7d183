"""Scores of a task's predictions, by scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import metrics as sk

from stg_ray.tasks import Task

PRIMARY = {"binary": "average_precision", "multiclass": "average_precision", "regression": "r2"}
"""The metric by kind of task that chooses the epoch and stands in the comparison of plans."""


def primary_metric(task: Task) -> str:
    return PRIMARY[task.kind]


def score(task: Task, prediction: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All metrics of one task on its labelled samples.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.

    Returns:
        Metrics by name; NaN where one is not defined, such as ROC AUC where only one class occurs.
    """
    if task.kind == "regression":
        few = len(labels) < 2
        return {
            "r2": np.nan if few else float(sk.r2_score(labels, prediction)),
            "mae": np.nan if len(labels) == 0 else float(sk.mean_absolute_error(labels, prediction)),
        }
    labels = labels.astype(np.int64)  # they are floating point where a regression task is in the same network
    present = np.unique(labels)
    if len(present) < 2:
        return dict.fromkeys(("average_precision", "roc_auc", "accuracy", "balanced_accuracy", "f1"), np.nan)
    if task.kind == "binary":
        predicted = (prediction >= 0.5).astype(np.int64)
        ranked = {
            "average_precision": sk.average_precision_score(labels, prediction),
            "roc_auc": sk.roc_auc_score(labels, prediction),
        }
    else:
        predicted = prediction.argmax(axis=1)
        # Classes that do not occur among the labels have no ranking to score: the mean is over those that do.
        one_hot = labels[:, None] == present[None, :]
        ranked = {
            "average_precision": sk.average_precision_score(one_hot, prediction[:, present], average="macro"),
            "roc_auc": sk.roc_auc_score(one_hot, prediction[:, present], average="macro"),
        }
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # a class that is predicted but does not occur is no mistake of ours
        decided = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "f1": sk.f1_score(
                labels, predicted, average="binary" if task.kind == "binary" else "macro", zero_division=0
            ),
        }
    return {name: float(value) for name, value in (ranked | decided).items()}
