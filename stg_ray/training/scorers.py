"""Metrics by the name of one of scikit-learn's scorers, or of a function of the user's."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import metrics as sk
from sklearn.base import BaseEstimator

from stg_ray.errors import InputError, one_line, unknown
from stg_ray.imports import raised, resolve
from stg_ray.tasks import Task


class _Predicted(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator that has predicted already, for scikit-learn's scorers: its inputs are the predictions."""

    def __init__(self, kind: str, n_classes: int) -> None:
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


def scored_by_name(
    name: str, task: Task, prediction: np.ndarray, labels: np.ndarray, known: Sequence[str] = ()
) -> float:
    """Return a metric by the name of one of scikit-learn's scorers, or by `module:function`.

    Args:
        name: of the metric.
        task: that is scored.
        prediction: p(positive) (n,), class probabilities (n, C), or values (n,).
        labels: (n,) true labels, none missing.
        known: further metrics that a mistyped name may stand for.

    Raises:
        InputError: there is no such metric, or it does not take such labels and predictions.
    """
    if ":" in name:
        return _by_function(name, prediction, labels)
    try:
        scorer = sk.get_scorer(name)
    except (ValueError, TypeError) as error:
        raise InputError(unknown(name, [*known, *sk.get_scorer_names()], "metric")) from error
    try:
        with warnings.catch_warnings():
            # A class that is predicted but does not occur is no mistake of ours.
            warnings.simplefilter("ignore", UserWarning)
            return float(scorer(_Predicted(task.kind, task.n_classes), prediction, labels))
    except (ValueError, TypeError, AttributeError) as error:
        present = np.unique(labels)
        if task.kind == "multiclass" and len(present) < task.n_classes:  # some scorers need every class to occur
            shares = prediction[:, present] / prediction[:, present].sum(axis=1, keepdims=True)
            fewer = replace(task, n_classes=len(present))
            return scored_by_name(name, fewer, shares, np.searchsorted(present, labels))
        raise InputError(f"{name} does not score {task.kind} tasks ({one_line(error)})") from error


def _by_function(name: str, prediction: np.ndarray, labels: np.ndarray) -> float:
    """A metric by a function of the user's."""
    try:
        return float(resolve(name, "metric")(labels, prediction))
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # sys.exit too: it would end this program as if it had done its work
        raise InputError(f"{name} was called with labels and predictions, and {raised(error)}") from error
