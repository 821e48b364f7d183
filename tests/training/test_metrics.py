"""Scores are scikit-learn's, and undefined where it has none."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn import metrics as sk

from stg_ray.config import MetricConfig
from stg_ray.errors import InputError
from stg_ray.tasks import Task, TaskKind
from stg_ray.training.metrics import all_scores, check_metrics, is_scorable, primary_metric, primary_score, score

RNG = np.random.default_rng(0)


def test_binary() -> None:
    labels, p = RNG.integers(0, 2, 50), RNG.random(50)
    found = score(Task("t"), p, labels)
    assert found["average_precision"] == sk.average_precision_score(labels, p)
    assert found["roc_auc"] == sk.roc_auc_score(labels, p)
    assert found["f1"] == sk.f1_score(labels, p >= 0.5)
    assert found["balanced_accuracy"] == sk.balanced_accuracy_score(labels, p >= 0.5)


def test_multiclass_with_a_class_that_does_not_occur() -> None:
    labels, p = RNG.integers(0, 3, 60).astype(np.float32), RNG.random((60, 4))
    task = Task("t", "multiclass", 4)
    found = score(task, p, labels)
    by_class = [sk.average_precision_score(labels == c, p[:, c]) for c in range(3)]
    assert math.isclose(found["average_precision"], float(np.mean(by_class)))
    assert found["accuracy"] == sk.accuracy_score(labels, p.argmax(axis=1))
    assert found[primary_metric(task)] == found["average_precision"]


def test_regression() -> None:
    labels = RNG.normal(size=30)
    found = score(Task("t", "regression", 1), labels + 0.1, labels)
    assert found["r2"] == sk.r2_score(labels, labels + 0.1)
    assert math.isclose(found["mae"], 0.1)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_the_primary_score_is_that_of_all_scores(kind: TaskKind) -> None:
    task = Task("t", kind, 3)
    labels = (
        RNG.normal(size=40) if kind == "regression" else RNG.integers(0, task.n_classes if kind != "binary" else 2, 40)
    )
    prediction = RNG.random((40, 3)) if kind == "multiclass" else RNG.random(40)
    full = score(task, prediction, labels)[primary_metric(task)]
    assert primary_score(task, prediction, labels) == pytest.approx(max(full, -1))


def test_undefined_scores_are_nan() -> None:
    assert all(math.isnan(v) for v in score(Task("t"), np.ones(3), np.ones(3, int)).values())
    assert math.isnan(score(Task("t", "regression", 1), np.ones(1), np.ones(1))["r2"])


def test_a_regression_with_a_single_value_is_not_scored() -> None:
    task, values, flat = Task("t", "regression", 1), RNG.normal(size=9), np.full(9, 3.5)
    assert not is_scorable(task, flat), "R2 would be 0 or 1, whatever a network learned"
    assert math.isnan(primary_score(task, values, flat))
    assert math.isnan(primary_score(task, flat, flat))
    found = score(task, values, flat)
    assert math.isnan(found["r2"])
    assert found["mae"] == pytest.approx(np.abs(values - 3.5).mean())


def of_mine(labels: np.ndarray, prediction: np.ndarray) -> float:
    """Share of the positives among the tenth that is most certain."""
    return float(labels[np.argsort(-prediction)][: len(labels) // 10].mean())


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("binary", "roc_auc", lambda p, y: sk.roc_auc_score(y, p)),
        ("binary", "neg_log_loss", lambda p, y: -sk.log_loss(y, p)),
        ("binary", "precision", lambda p, y: sk.precision_score(y, p >= 0.5)),
        ("binary", "tests.training.test_metrics:of_mine", lambda p, y: of_mine(y, p)),
        ("multiclass", "f1_weighted", lambda p, y: sk.f1_score(y, p.argmax(axis=1), average="weighted")),
        ("multiclass", "roc_auc_ovr", lambda p, y: sk.roc_auc_score(y, p, multi_class="ovr")),
        ("regression", "mae", lambda p, y: -sk.mean_absolute_error(y, p)),
        ("regression", "neg_median_absolute_error", lambda p, y: -sk.median_absolute_error(y, p)),
    ],
)
def test_a_metric_by_name_is_that_of_scikit_learn(kind: TaskKind, name: str, expected: Callable[..., float]) -> None:
    rng = np.random.default_rng(0)
    task = Task("t", kind, {"binary": 2, "multiclass": 3, "regression": 1}[kind])
    labels = rng.normal(size=60) if kind == "regression" else rng.integers(0, task.n_classes, 60)
    prediction = rng.random(60) if kind != "multiclass" else rng.dirichlet(np.ones(3), 60)
    metric = MetricConfig(**{kind: name})
    check_metrics(metric, [task])
    found = primary_score(task, prediction, labels, metric)
    assert found == pytest.approx(expected(prediction, labels))
    assert all_scores(task, prediction, labels, metric)[primary_metric(task, metric)] == found


def test_a_class_that_does_not_occur_does_not_end_a_training() -> None:
    rng = np.random.default_rng(0)
    prediction, labels = rng.dirichlet(np.ones(4), 60), rng.integers(0, 3, 60)
    metric = MetricConfig(multiclass="roc_auc_ovr")
    shares = prediction[:, :3] / prediction[:, :3].sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(labels, shares, multi_class="ovr")
    assert primary_score(Task("t", "multiclass", 4), prediction, labels, metric) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("acc", r"metric.multiclass: unknown metric 'acc': did you mean 'accuracy'"),
        ("roc_acu", r"metric.multiclass: unknown metric 'roc_acu': did you mean 'roc_auc'"),
        ("precision", r"metric.multiclass: precision does not score multiclass tasks"),
        ("nowhere:metric", r"nowhere"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_at_the_door(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_metrics(MetricConfig(multiclass=name), [Task("t", "multiclass", 3)])
