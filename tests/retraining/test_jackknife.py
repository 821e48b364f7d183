"""How far other validation rows would change scores: the jackknife against brute force, and against fresh rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

import stg_ray as sr
from stg_ray.config import MetricConfig
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of, read_index
from stg_ray.data.rows import TaskRows
from stg_ray.progress import Reporter
from stg_ray.retraining.choice import choose
from stg_ray.retraining.jackknife import N_FOLDS, jackknife_error, scores_without_folds
from stg_ray.retraining.specs import fold_of
from stg_ray.serving import load_predictor
from stg_ray.tasks import Task, observed
from stg_ray.training.metrics import primary_score

TASKS = [Task(name) for name in "abcd"]


def test_each_fold_is_left_out_in_turn() -> None:
    rng = np.random.default_rng(0)
    positions = [np.flatnonzero(rng.random(100) < 0.6) for _ in TASKS]
    labels = [rng.integers(2, size=len(own)).astype(np.int8) for own in positions]
    labels[3][:] = positions[3] // 2 % N_FOLDS == 5  # all its positives are in one fold
    predictions = [rng.random(len(own)) for own in positions]
    found = scores_without_folds(TASKS, predictions, labels, positions)
    for fold in range(N_FOLDS):
        for t, task in enumerate(TASKS):
            kept = [n for n, position in enumerate(positions[t]) if position // 2 % N_FOLDS != fold]
            expected = primary_score(task, predictions[t][kept], labels[t][kept])
            assert found[fold, t] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found[5, 3])
    assert np.isnan(found).sum() == 1


def test_halves_that_are_predicted_by_networks_of_other_epochs_are_no_noise_of_rows() -> None:
    """The error is about that of the halves by themselves, not that of the difference between them."""
    rng, found, drawn = np.random.default_rng(3), [], []
    for _ in range(60):
        rows = np.arange(400)
        labels = rng.integers(2, size=400)
        predicted = labels + np.where(rows % 2 == 0, 0.2, 4.0) * rng.normal(size=400)
        drawn.append(primary_score(TASKS[0], predicted, labels))
        found.append(jackknife_error(scores_without_folds(TASKS[:1], [predicted], [labels], [rows])))
    assert 0.75 < np.sqrt(np.mean(np.square(np.array(found, dtype=float)))) / np.std(drawn) < 1.25


def test_folds_without_a_value_do_not_count_and_without_two_nothing_is_known() -> None:
    values = np.random.default_rng(4).normal(size=(N_FOLDS, 1))
    values[7] = np.nan
    kept = np.delete(values[:, 0], 7)
    n = N_FOLDS - 1
    assert jackknife_error(values) == pytest.approx(np.sqrt((n - 1) / n * np.square(kept - kept.mean()).sum()))
    assert jackknife_error(np.where(np.arange(N_FOLDS)[:, None] == 2, 1.0, np.nan)) is None


@pytest.mark.parametrize("n", [10, 15, 24, 40])
def test_folds_without_rows_are_none(n: int) -> None:
    """Of a mean of n rows, two in a fold, it is the jackknife over the n / 2 folds; twenty would make it larger."""
    rng, errors, drawn = np.random.default_rng(5), [], []
    for _ in range(400):
        labels, predicted = rng.normal(size=(2, n))
        task = Task("r", "regression", 1)
        without = scores_without_folds([task], [predicted], [labels], [np.arange(n)], MetricConfig(regression="mae"))
        assert np.isfinite(without).sum() == -(-n // 2)
        errors.append(jackknife_error(without))
        drawn.append(np.abs(labels - predicted).mean())
    assert 0.9 < np.sqrt(np.mean(np.square(np.array(errors, dtype=float)))) / np.std(drawn) < 1.15


def judged(rng: np.random.Generator, better: float, n: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Scores (2, K) of two plans on n rows, and (2, F, K) without each fold; the second is better by so much.

    A row is hard in all tasks at once, and each plan has an error of its own in it, which it makes in all tasks.
    """
    labels = np.tile(rng.integers(2, size=(n, 1)), len(TASKS))
    own = rng.normal(size=(2, n, 1)) + 0.05 * rng.normal(size=(2, n, len(TASKS)))
    outputs = labels * np.array([1.5, 1.5 + better]).reshape(2, 1, 1) + own
    positions = [np.arange(n)] * len(TASKS)
    full = np.array([[primary_score(TASKS[t], o[:, t], labels[:, t]) for t in range(len(TASKS))] for o in outputs])
    return full, np.stack([scores_without_folds(TASKS, o.T, labels.T, positions) for o in outputs])


def test_it_is_the_error_that_fresh_rows_show() -> None:
    """Beside it the error over tasks is next to nothing: all of them are judged on the same rows."""
    rng = np.random.default_rng(1)
    drawn = [judged(rng, better=0.0) for _ in range(200)]
    differences = np.array([np.subtract(*full) for full, _ in drawn])
    of_rows = [jackknife_error(np.subtract(*without)) for _, without in drawn]
    of_tasks = differences.std(axis=1, ddof=1) / np.sqrt(len(TASKS))
    spread = differences.mean(axis=1).std(ddof=1)
    assert 0.8 < np.sqrt(np.mean(np.square(of_rows))) / spread < 1.25
    assert of_tasks.mean() < 0.1 * spread


def test_rows_that_favour_a_plan_by_chance_do_not_decide(make_task_set: Callable[..., sr.TaskSet]) -> None:
    index = index_of(make_task_set(blocks=(2, 2)))
    rng = np.random.default_rng(2)

    def chosen(better: float, *, rows: bool) -> str:
        full, without = judged(rng, better)
        plans = ("all_in_one", "ours")
        results = [
            (plan, 0, task, "val", "argmax", "average_precision", value, 0)
            for plan, own in zip(plans, full, strict=True)
            for task, value in zip(index.names, own, strict=True)
        ]
        columns = ["plan", "group", "task", "split", "serving", "metric", "value", "seed"]
        costs = [("all_in_one", 0, 0, 10, 1.0), ("ours", 0, 0, 10, 1.0), ("ours", 1, 0, 10, 1.0)]
        found = choose(
            pd.DataFrame(results, columns=columns),
            pd.DataFrame(costs, columns=["plan", "group", "seed", "cost", "seconds"]),
            index,
            set(),
            without={(plan, "argmax", 0): own for plan, own in zip(plans, without, strict=True)} if rows else None,
        )
        assert found is not None
        worse = found["candidates"][1]
        assert worse["error"] == max(worse["error_of_tasks"], worse["error_of_rows"] or 0.0)
        return str(found["plan"])

    by_tasks = [chosen(0.0, rows=False) for _ in range(100)].count("ours")
    by_rows = [chosen(0.0, rows=True) for _ in range(100)].count("ours")
    assert by_tasks > 35, "half of the draws favour it, by more than tasks differ"
    assert by_rows < 25, "one in six is more than a standard error better by chance"
    assert [chosen(1.5, rows=True) for _ in range(30)].count("ours") == 30


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("folds", [1, 3])
def test_the_errors_of_a_run_are_those_of_its_networks(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path_factory: pytest.TempPathFactory, folds: int
) -> None:
    """Computed again from what the networks predict for the validation rows, alone and together.

    Every network has one epoch, so that both halves of the rows are predicted by the network that is kept.
    """
    plans = ["ours", "ours_and_all", "all_in_one", "all_in_one_ensemble", *(["greedy"] if folds == 1 else [])]
    settings = {
        "grouping": {"groups": 2},
        "retrain": {"epochs": 1, "seeds": 3, "folds": folds, "plans": plans, "forecast": "tell"},
        "profile": {"epochs": 1, "workers": 1},
        "model": {"trunk": "mlp", "width": 8, "depth": 1},
    }
    task_set = make_task_set(blocks=(2, 2), n_samples=400, missing=0.2)
    run = sr.run(
        task_set, str(tmp_path_factory.mktemp("run") / "run"), settings=settings, until="retrain", reporter=quiet
    )
    config, parts = load_config(run.config.model_dump()), run.run_dir.sub("parts")
    index = read_index(parts)
    without = {}
    candidates = {(each["plan"], each["serving"]): each for each in run.run_dir.read_json("chosen.json")["candidates"]}
    for plan, serving in candidates:
        if plan == "greedy":
            continue
        trainings = []
        for seed in range(3):
            rows = TaskRows(parts, index, "val", range(4), fold_of(config, seed))
            predictor = load_predictor(run.run_dir, config, plan, seed, "cpu")
            outputs = predictor.outputs(rows.inputs, serving=serving)
            scores = np.full((N_FOLDS, 4), np.nan)
            for t, predicted in enumerate(predictor.layout.predictions(outputs)):
                for fold in range(N_FOLDS):
                    kept = observed(rows.labels[:, t]) & (rows.rows // 2 % N_FOLDS != fold)
                    scores[fold, t] = primary_score(index.tasks[t], predicted.numpy()[kept], rows.labels[kept, t])
            trainings.append(scores)
        without[plan, serving] = np.mean(trainings, axis=0)
    best = next(key for key, each in candidates.items() if each["behind"] == 0)
    assert candidates[best]["error_of_rows"] == 0
    assert all(each["error_of_rows"] is not None for each in candidates.values())
    if best[0] != "greedy":
        for key, values in without.items():
            assert candidates[key]["error_of_rows"] == pytest.approx(jackknife_error(without[best] - values), rel=1e-4)
