"""Metrics of a task's predictions: those that every run reports, and any other by its name (`scorers`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stg_ray.config import MetricConfig
from stg_ray.errors import InputError
from stg_ray.tasks import Task
from stg_ray.training.ranking import Ranking, decision_scores, r2

KINDS = {
    "classification": ("average_precision", "roc_auc", "accuracy", "balanced_accuracy", "f1"),
    "regression": ("r2",),
}
"""Metrics that are computed here, by the names that the configuration gives them; others are scikit-learn's scorers."""

DEFAULT = MetricConfig()

LEAST_R2 = -1.0
"""R2 below this counts as this wherever means over tasks are compared: one bad regression decides no mean."""


def primary_metric(task: Task, metric: MetricConfig = DEFAULT) -> str:
    """Return the name of the metric by which a task is compared."""
    return metric.of(task.kind)


def is_scorable(task: Task, labels: np.ndarray) -> bool:
    """Whether metrics of a task tell anything on its labels (n,), none missing: there are two values or more."""
    return bool(task.is_scored and len(labels) and labels.min() != labels.max())


def primary_score(task: Task, prediction: np.ndarray, labels: np.ndarray, metric: MetricConfig = DEFAULT) -> float:
    """Return the primary metric; R2 is cut at -1, so that one bad regression does not decide a mean over tasks.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.
        metric: which it is, by the kind of task.

    Returns:
        The metric; NaN where it is not defined, such as where a single class or value occurs, and for a task that is
        not scored.

    Raises:
        InputError: the metric does not take such labels and predictions.
    """
    if not is_scorable(task, labels):
        return np.nan
    name = primary_metric(task, metric)
    if task.kind == "regression" and name == "r2":
        return max(r2(labels, prediction), LEAST_R2)
    if task.kind != "regression":
        labels = labels.astype(np.int64)
        if name == "average_precision":
            return _ranked(task, prediction, labels)["average_precision"]
        if name in KINDS["classification"]:
            return score(task, prediction, labels)[name]
    from stg_ray.training.scorers import scored_by_name  # a second of imports that most runs do not need

    known = KINDS["regression" if task.kind == "regression" else "classification"]
    return scored_by_name(name, task, prediction, labels, known)


def check_metrics(metric: MetricConfig, tasks: Sequence[Task]) -> None:
    """Refuse at the door metrics that cannot be computed for the kinds of these tasks.

    Raises:
        InputError: there is no such metric, or it does not take such labels and predictions.
    """
    for kind, task in {task.kind: replace(task, is_scored=True) for task in tasks}.items():
        try:
            labels = np.arange(20 * task.n_classes) % max(2, task.n_classes)
            prediction = np.eye(task.n_classes)[labels] if kind == "multiclass" else labels.astype(np.float64)
            value = primary_score(task, prediction, labels, metric)
        except InputError as error:
            raise InputError(f"metric.{kind}: {error}") from error
        if not np.isfinite(value):
            raise InputError(f"metric.{kind}={metric.of(kind)} is {value} for predictions that are right")


def all_scores(task: Task, prediction: np.ndarray, labels: np.ndarray, metric: MetricConfig) -> dict[str, float]:
    """Compute all metrics of `score`, and the one by which the task is compared if it is another."""
    scores, name = score(task, prediction, labels), primary_metric(task, metric)
    return scores if name in scores else {**scores, name: primary_score(task, prediction, labels, metric)}


def score(task: Task, prediction: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute the metrics that every run reports of one task, on its labelled samples.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.

    Returns:
        Metrics by name; NaN where one is not defined, such as ROC AUC where only one class occurs.
    """
    if task.kind == "regression":
        no_error = len(labels) == 0 or not task.is_scored
        return {
            "r2": r2(labels, prediction) if is_scorable(task, labels) else np.nan,
            "mae": np.nan if no_error else float(np.abs(labels - prediction).mean()),
        }
    labels = labels.astype(np.int64)  # they are floating point where a regression task is in the same network
    if not is_scorable(task, labels):
        return dict.fromkeys(KINDS["classification"], np.nan)
    binary = task.kind == "binary"
    predicted = (prediction >= 0.5).astype(np.int64) if binary else prediction.argmax(axis=1)
    decided = decision_scores(labels, predicted, 2 if binary else prediction.shape[1], binary=binary)
    return _ranked(task, prediction, labels) | decided


def _ranked(task: Task, prediction: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Metrics of the ranking of the positives, or their means over the classes that occur: others have none."""
    if task.kind == "binary":
        rankings = [Ranking(labels, prediction)]
    else:
        rankings = [Ranking(labels == c, prediction[:, c]) for c in np.unique(labels)]
    return {
        "average_precision": float(np.mean([ranking.average_precision for ranking in rankings])),
        "roc_auc": float(np.mean([ranking.roc_auc for ranking in rankings])),
    }
