"""Scores of plans without some of the validation rows, which tell by how much other rows would change them.

The rows are cut into folds, and every plan is scored without each of them in turn: the jackknife (Efron & Stein, Ann.
Stat. 1981, The jackknife estimate of variance). All plans leave out the same rows, so that a row that is hard for all
of them is no error of their difference. It is the error for rows that do not depend on each other; it is too small
where neighbours do, as in a series.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import wait_for
from stg_ray.config import Config, MetricConfig
from stg_ray.data.parts import read_index
from stg_ray.data.rows import TaskRows
from stg_ray.imports import work_in
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import HeldOut, together
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.plans import Plan
from stg_ray.retraining.specs import NetworkSpec, fold_of
from stg_ray.tasks import Task, observed
from stg_ray.training.compute import training_process
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
        (F, K) primary metrics; NaN where one is not defined on the rows that are left.
    """
    scores = np.full((N_FOLDS, len(tasks)), np.nan)
    for t, (task, prediction, own, rows) in enumerate(zip(tasks, predictions, labels, positions, strict=True)):
        for fold in range(N_FOLDS):
            left = folds_of(rows) != fold
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


def jackknifed_scores(
    run: RunDir,
    config: Config,
    plans: Mapping[str, Plan],
    specs: Sequence[NetworkSpec],
    failed: set[tuple[str, int]],
) -> WithoutFolds:
    """Score the trainings of plans without each fold of the validation rows, by Ray tasks.

    Nothing is returned where there is nothing to compare, or networks are initialisations, without outputs of a task.

    Args:
        specs: of the networks, trained.
        failed: trainings (plan, seed) in which a network is missing; they are left out.
    """
    import ray

    if config.retrain.learner != "joint":
        return {}
    folders: dict[tuple[str, int], dict[int, str]] = {}
    for spec in specs:
        if (spec.plan, spec.seed) not in failed:
            folders.setdefault((spec.plan, spec.seed), {})[spec.group] = network_folder(spec, config)
    if len({(name, serving) for name, _ in folders for serving in _servings(plans[name])}) < 2:
        return {}
    score = ray.remote(num_cpus=1, max_retries=config.retrain.max_failures)(_score)
    references = {
        (name, seed): score.options(name=f"row noise of {name}, seed {seed}").remote(
            run.uri, config.model_dump(), plans[name].groups.to_dict(), _servings(plans[name]), seed, own, os.getcwd()
        )
        for (name, seed), own in folders.items()
    }
    found = wait_for(lambda: ray.get(list(references.values())))
    return {
        (name, serving, seed): scores
        for (name, seed), by_serving in zip(references, found, strict=True)
        for serving, scores in by_serving.items()
    }


def _servings(plan: Plan) -> list[Serving]:
    """The ways in which a plan is scored."""
    alone: list[Serving] = [] if plan.ensemble else ["argmax"]
    return [*alone, "ensemble"] if plan.ensemble or plan.groups.has_ensemble else alone


def _score(
    uri: str,
    config: dict[str, object],
    of_plan: dict[str, object],
    servings: list[Serving],
    seed: int,
    own: dict[int, str],
    directory: str,
) -> dict[Serving, np.ndarray]:
    """Score one training of a plan, in a Ray task.

    Args:
        own: folders of the networks, by the numbers of their groups.
        directory: in which the program was started.
    """
    work_in(directory)
    with training_process(1):
        run, settings, groups = Storage(uri), Config.model_validate(config), Groups.from_dict(of_plan)
        index = read_index(run.sub("parts"))
        tasks = {task.name: task for task in index.tasks}
        rows = TaskRows(run.sub("parts"), index, "val", range(len(index.tasks)), fold_of(settings, seed))
        members = [[tasks[name] for name in groups.groups[group]] for group in sorted(own)]
        networks = list(zip(members, [HeldOut.read(run, own[group]) for group in sorted(own)], strict=True))
        layout, scores = OutputLayout(index.tasks), {}
        for serving in servings:
            outputs = together(index.tasks, groups.serving_weights(serving), networks, index.n_samples("val"))
            scores[serving] = without_each_fold(layout, outputs[rows.rows], rows, settings.metric)
        return scores
