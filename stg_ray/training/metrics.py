"""Metrics of a task's predictions, by scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import metrics as sk

from stg_ray.tasks import Task

PRIMARY = {"binary": "average_precision", "multiclass": "average_precision", "regression": "r2"}
"""The metric of each kind of task that chooses the epoch and stands in the comparison of plans."""


def primary_metric(task: Task) -> str:
    """Return the name of the metric by which a task is compared."""
    return PRIMARY[task.kind]


def is_scorable(task: Task, labels: np.ndarray) -> bool:
    """Whether the primary metric of a task is defined on its labels (n,), none missing."""
    return task.is_scored and (len(labels) > 1 if task.kind == "regression" else len(np.unique(labels)) > 1)


def primary_score(task: Task, prediction: np.ndarray, labels: np.ndarray) -> float:
    """Return the primary metric; R2 is cut at -1, so that one bad regression does not decide a mean over tasks.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.

    Returns:
        The metric; NaN where it is not defined, such as where a single class occurs, and for a task that is not scored.
    """
    if not is_scorable(task, labels):
        return np.nan
    if task.kind == "regression":
        return float(np.maximum(sk.r2_score(labels, prediction), -1))
    return _average_precision(task, prediction, labels.astype(np.int64))


def score(task: Task, prediction: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute all metrics of one task on its labelled samples.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.

    Returns:
        Metrics by name; NaN where one is not defined, such as ROC AUC where only one class occurs.
    """
    if task.kind == "regression":
        few = len(labels) < 2 or not task.is_scored
        return {
            "r2": np.nan if few else float(sk.r2_score(labels, prediction)),
            "mae": np.nan
            if len(labels) == 0 or not task.is_scored
            else float(sk.mean_absolute_error(labels, prediction)),
        }
    labels = labels.astype(np.int64)  # they are floating point where a regression task is in the same network
    present = np.unique(labels)
    if len(present) < 2 or not task.is_scored:
        return dict.fromkeys(("average_precision", "roc_auc", "accuracy", "balanced_accuracy", "f1"), np.nan)
    if task.kind == "binary":
        predicted = (prediction >= 0.5).astype(np.int64)
        roc_auc = sk.roc_auc_score(labels, prediction)
    else:
        predicted = prediction.argmax(axis=1)
        roc_auc = sk.roc_auc_score(labels[:, None] == present, prediction[:, present], average="macro")
    ranked = {"average_precision": _average_precision(task, prediction, labels), "roc_auc": roc_auc}
    with warnings.catch_warnings():
        # A class that is predicted but does not occur is no mistake of ours.
        warnings.simplefilter("ignore", UserWarning)
        decided = {
            "accuracy": sk.accuracy_score(labels, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "f1": sk.f1_score(
                labels, predicted, average="binary" if task.kind == "binary" else "macro", zero_division=0
            ),
        }
    return {name: float(value) for name, value in (ranked | decided).items()}


def _average_precision(task: Task, prediction: np.ndarray, labels: np.ndarray) -> float:
    """Average precision of the positives, or its mean over the classes that occur: others have no ranking to score."""
    if task.kind == "binary":
        return float(sk.average_precision_score(labels, prediction))
    present = np.unique(labels)
    return float(sk.average_precision_score(labels[:, None] == present, prediction[:, present], average="macro"))
