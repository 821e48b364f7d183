"""Scores are scikit-learn's, and undefined where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from stg_ray.tasks import Task, TaskKind
from stg_ray.training.metrics import primary_metric, primary_score, score

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
