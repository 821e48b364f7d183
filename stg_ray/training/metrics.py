"""Metrics of a task's predictions, by scikit-learn where they are not computed after every epoch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import metrics as sk
from sklearn.base import BaseEstimator

from stg_ray.config import MetricConfig
from stg_ray.errors import InputError, one_line, unknown
from stg_ray.imports import raised, resolve
from stg_ray.tasks import Task
from stg_ray.training.ranking import average_precision

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
    """Whether metrics of a task are defined on its labels (n,), none missing."""
    if task.kind == "regression" or len(labels) == 0:
        return task.is_scored and len(labels) > 1
    return bool(task.is_scored and labels.min() != labels.max())


def primary_score(task: Task, prediction: np.ndarray, labels: np.ndarray, metric: MetricConfig = DEFAULT) -> float:
    """Return the primary metric; R2 is cut at -1, so that one bad regression does not decide a mean over tasks.

    Args:
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.
        metric: which it is, by the kind of task.

    Returns:
        The metric; NaN where it is not defined, such as where a single class occurs, and for a task that is not scored.

    Raises:
        InputError: the metric does not take such labels and predictions.
    """
    if not is_scorable(task, labels):
        return np.nan
    name = primary_metric(task, metric)
    if task.kind == "regression":
        if name == "r2":
            return max(float(sk.r2_score(labels, prediction)), LEAST_R2)
        return _named(name, task, prediction, labels)
    if name == "average_precision":
        return _average_precision(task, prediction, labels.astype(np.int64))
    if name in KINDS["classification"]:
        return score(task, prediction, labels)[name]
    return _named(name, task, prediction, labels.astype(np.int64))


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


class _Predicted(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator that has predicted already, for scikit-learn's scorers: its inputs are the predictions."""

    def __init__(self, kind: str = "regression", n_classes: int = 0) -> None:
        self.kind, self.n_classes = kind, n_classes
        self._estimator_type = "regressor" if kind == "regression" else "classifier"
        self.classes_ = np.arange(n_classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = self._estimator_type
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict_proba(self, prediction: np.ndarray) -> np.ndarray:
        """Return class probabilities (n, C)."""
        return np.stack([1 - prediction, prediction], axis=1) if self.kind == "binary" else prediction

    def predict(self, prediction: np.ndarray) -> np.ndarray:
        """Return classes (n,), or values (n,)."""
        if self.kind == "regression":
            return prediction
        return (prediction >= 0.5).astype(np.int64) if self.kind == "binary" else prediction.argmax(axis=1)


def _named(name: str, task: Task, prediction: np.ndarray, labels: np.ndarray) -> float:
    """A metric by the name of a function or of one of scikit-learn's scorers."""
    if ":" in name:
        return _by_function(name, prediction, labels)
    try:
        scorer = sk.get_scorer(name)
    except (ValueError, TypeError) as error:
        known = [*KINDS["regression" if task.kind == "regression" else "classification"], *sk.get_scorer_names()]
        raise InputError(unknown(name, known, "metric")) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # as in `score`
            return float(scorer(_Predicted(task.kind, task.n_classes), prediction, labels))
    except (ValueError, TypeError, AttributeError) as error:
        present = np.unique(labels)
        if task.kind == "multiclass" and len(present) < task.n_classes:  # some scorers need every class to occur
            shares = prediction[:, present] / prediction[:, present].sum(axis=1, keepdims=True)
            fewer = replace(task, n_classes=len(present))
            return _named(name, fewer, shares, np.searchsorted(present, labels))
        raise InputError(f"{name} does not score {task.kind} tasks ({one_line(error)})") from error


def _by_function(name: str, prediction: np.ndarray, labels: np.ndarray) -> float:
    """A metric by a function of the user's."""
    try:
        return float(resolve(name)(labels, prediction))
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit too: it would end this program as if it had done its work
        raise InputError(f"{name} was called with labels and predictions, and {raised(error)}") from error


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
        return average_precision(labels, prediction)
    return float(np.mean([average_precision(labels == c, prediction[:, c]) for c in np.unique(labels)]))
