"""Scores of plans without some of the validation rows, which tell by how much other rows would change them.

The rows are cut into folds, and every plan is scored without each of them in turn: the jackknife (Efron & Stein, Ann.
Stat. 1981, The jackknife estimate of variance). All plans leave out the same rows, so that a row that is hard for all
of them is no error of their difference. It is the error for rows that do not depend on each other; it is too small
where neighbours do, as in a series.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from stg_ray.artifacts.groups import Serving
from stg_ray.config import MetricConfig
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.tasks import Task, observed
from stg_ray.training.metrics import DEFAULT, primary_score

N_FOLDS = 20

WithoutFolds = dict[tuple[str, Serving, int], np.ndarray]
"""By plan, way of serving and seed: (F, K) primary metrics on the validation rows without each of F folds."""


def folds_of(positions: np.ndarray) -> np.ndarray:
    """Return the fold of rows (n,), by their positions among the validation rows.

    Each has as many rows of both halves that choose each other's epoch (see `held_out`): that these are predicted by
    networks of different epochs is no noise of rows.
    """
    return positions // 2 % N_FOLDS


def n_filled(positions: Sequence[np.ndarray]) -> int:
    """Return how many of the folds hold rows, by the last of these: of fewer than 2 `N_FOLDS` rows it is half of them.

    Without a fold that holds none scores are those of all rows, which would pass for folds that change nothing.
    """
    last = max((int(own.max()) for own in positions if len(own)), default=-1)
    return min(N_FOLDS, last // 2 + 1)


def scores_without_folds(
    tasks: Sequence[Task],
    predictions: Iterable[np.ndarray],
    labels: Sequence[np.ndarray],
    positions: Sequence[np.ndarray],
    metric: MetricConfig = DEFAULT,
) -> np.ndarray:
    """Score the predictions of K tasks without each fold of the rows.

    Args:
        predictions: of each task, (n,) or (n, C), on the rows that have a label for it.
        labels: of each task, (n,) on these rows.
        positions: of each task, (n,) of these rows among the validation rows, by which they belong to a fold.

    Returns:
        (F, K) primary metrics; NaN where one is not defined on the rows that are left, and for folds without rows.
    """
    scores = np.full((N_FOLDS, len(tasks)), np.nan)
    for t, (task, prediction, own, rows) in enumerate(zip(tasks, predictions, labels, positions, strict=True)):
        folds = folds_of(rows)
        for fold in range(n_filled(positions)):
            left = folds != fold
            scores[fold, t] = primary_score(task, prediction[left], own[left], metric)
    return scores


def without_each_fold(
    layout: OutputLayout, outputs: torch.Tensor, rows: TaskRows, metric: MetricConfig = DEFAULT
) -> np.ndarray:
    """Score outputs (n, O) on rows of the validation split without each fold of them; (F, K) as above."""
    has_label = [observed(column) for column in rows.labels.T]
    return scores_without_folds(
        layout.tasks,
        [prediction.numpy()[has] for prediction, has in zip(layout.predictions(outputs), has_label, strict=True)],
        [column[has] for column, has in zip(rows.labels.T, has_label, strict=True)],
        [rows.rows[has] for has in has_label],
        metric,
    )


def jackknife_error(without: np.ndarray) -> float | None:
    """Return the standard error over rows of a mean over tasks, by what it is without each of F folds.

    A fold may hold all rows of one of a task's classes: without it the task has no value, and no say.

    Args:
        without: (F, K) values of the tasks, such as differences of scores; NaN where one is not defined.

    Returns:
        The error; None where there is no value without all folds but one.

    Example:
        >>> values = np.arange(20.0)  # of a mean it is the standard deviation, divided by the root of their number
        >>> without = (values.sum() - values) / 19
        >>> round(jackknife_error(without[:, None]), 4), round(float(values.std(ddof=1) / 20**0.5), 4)
        (1.3229, 1.3229)
    """
    known = np.isfinite(without)
    has_value = known.any(axis=1)
    n = int(has_value.sum())
    if n < 2:
        return None
    means = np.where(known, without, 0.0)[has_value].sum(axis=1) / known[has_value].sum(axis=1)
    return float(np.sqrt((n - 1) / n * np.sum((means - means.mean()) ** 2)))
