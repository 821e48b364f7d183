"""Correlations adjusted for base rates: the regression that they are, what they find, and what they must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from stg_ray.affinities.adjusted import (
    MIN_TASKS,
    SPREAD,
    ConfidenceAdjusted,
    LogitAdjusted,
    oriented,
    padded,
    rate_columns,
    without_rates,
)
from stg_ray.affinities.confidence import log_odds
from stg_ray.affinities.correlation import moments
from stg_ray.affinities.gradients.samples import class_counts
from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import part_name, read_index, write_parts
from stg_ray.progress import Reporter
from stg_ray.tasks import Task
from tests.support.oracle import compute

RARE = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.4])


def plain_correlation(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.corrcoef(rows))


def eta_squared(values: np.ndarray, labels: np.ndarray) -> float:
    """The share of the variance of values that groups explain."""
    means = np.array([values[labels == group].mean() for group in labels])
    return float(((means - values.mean()) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def test_it_is_the_correlation_of_what_regression_on_the_rates_leaves() -> None:
    rng = np.random.default_rng(0)
    n_tasks = 8
    values = rng.normal(size=(300, 3)) @ rng.normal(size=(3, n_tasks)) + rng.normal(size=(300, n_tasks))
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    rates = rng.normal(size=(n_tasks, 1))
    rates -= rates.mean()
    # A ridge regression of each sample's values on the log-odds, as rows that pull the coefficient to zero.
    x = np.vstack([rates, np.sqrt(n_tasks) * SPREAD * np.eye(1)])
    left = []
    for row in values - values.mean(axis=1, keepdims=True):
        coefficient = np.linalg.lstsq(x, np.append(row, 0), rcond=None)[0]
        left.append(row - rates @ coefficient)
    expected = np.array(left).T @ np.array(left)
    scale = np.sqrt(np.diag(expected))
    found = without_rates(plain_correlation(values.T), rates)
    np.testing.assert_allclose(found, expected / np.outer(scale, scale), atol=1e-9)


def rare_groups(seed: int, shared: float, pull: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidences (n, 18), labels, and three groups of six tasks; every group has all rates, and a sample is
    sure or unsure for tasks by their rates."""
    rng, n = np.random.default_rng(seed), 2000
    groups, rates = np.repeat(np.arange(3), 6), np.tile(RARE, 3)
    own = np.sqrt(shared) * rng.normal(size=(n, 3))[:, groups] + np.sqrt(1 - shared) * rng.normal(size=(n, 18))
    odds = -np.log(rates / (1 - rates))
    confidence = 1 / (1 + np.exp(-(own + odds + pull * (odds - odds.mean()) * rng.normal(size=(n, 1)))))
    return confidence, (rng.random((n, 18)) < rates).astype(np.int8), groups


def matrices(confidence: np.ndarray, labels: np.ndarray) -> tuple[sr.TaskMatrix, sr.TaskMatrix]:
    """The plain correlation of confidences, and the adjusted one."""
    state = sr.DataMapState.of_visit(confidence.astype(np.float32))
    tasks = [Task(f"task_{t}") for t in range(labels.shape[1])]
    sums = moments(*log_odds(state)) | {"samples": np.array(len(labels))}
    partial = sums | {"classes": padded(class_counts([labels], tasks))}
    return sr.confidence_correlation(state), ConfidenceAdjusted.combine([partial], tasks)


def test_groups_that_cross_the_rates_are_found() -> None:
    for seed in range(3):
        confidence, labels, groups = rare_groups(seed, 0.5, 1.5)
        plain, adjusted = matrices(confidence, labels)
        by_rarity, found = sr.group(plain, n_groups=3).labels, sr.group(adjusted, n_groups=3).labels
        log_positives = np.log(labels.sum(axis=0))
        assert eta_squared(log_positives, by_rarity) > 0.5, "the plain correlation groups by rarity"
        assert eta_squared(log_positives, found) < 0.1
        assert adjusted_rand_score(groups, found) == 1.0


def test_rates_alone_are_no_structure() -> None:
    alone = [len(sr.group(matrices(*rare_groups(seed, 0.0, 0.5)[:2])[1]).groups) for seed in range(10)]
    assert sum(n == 1 for n in alone) >= 9, alone


def test_equal_rates_change_nothing_but_the_constant() -> None:
    values = plain_correlation(np.random.default_rng(0).normal(size=(8, 30)))
    centred = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    scale = np.sqrt(np.diag(centred))
    np.testing.assert_allclose(without_rates(values, np.zeros((8, 2))), centred / np.outer(scale, scale))


def test_few_tasks_keep_what_cannot_be_told_from_their_rates() -> None:
    values = plain_correlation(np.random.default_rng(0).normal(size=(MIN_TASKS - 1, 30)))
    rates = np.linspace(-2, 2, MIN_TASKS - 1)[:, None]
    assert np.array_equal(without_rates(values, rates), without_rates(values, 0 * rates))
    two = values[:2, :2]
    assert np.array_equal(without_rates(two, rates[:2]), two)


def test_pairs_and_tasks_without_a_value_have_none() -> None:
    values = plain_correlation(np.random.default_rng(0).normal(size=(8, 30)))
    values[0, 1] = values[1, 0] = np.nan
    values[7] = values[:, 7] = np.nan
    found = without_rates(values, np.zeros((8, 1)))
    assert np.array_equal(np.isnan(found), np.isnan(values))


def test_rates_of_every_kind_of_task() -> None:
    tasks = [Task("rare"), Task("common"), Task("three", "multiclass", 3), Task("size", "regression")]
    classes = padded([np.array([99.5, 9.5]), np.array([9.5, 99.5]), np.array([19.5] * 3), np.array([110.0])])
    signed, chance = rate_columns(classes, tasks).T
    np.testing.assert_allclose(signed, [-np.log(10), np.log(10), 0, 0])
    assert chance[0] == pytest.approx(chance[1]), "a common label is as easy to guess as a rare one"
    assert chance[0] > 0 > chance[2]
    assert chance[3] == 0


@pytest.mark.parametrize("method", ["confidence_adjusted", "logit_adjusted"])
def test_parts_add_up_to_what_all_samples_give(
    method: str, make_task_set: Callable[..., sr.TaskSet], tmp_path: Path
) -> None:
    task_set = make_task_set(n_samples=300, blocks=(3, 3))
    found = []
    for part_rows in (64, 1000):
        folder = tmp_path / str(part_rows)
        run = Storage(folder)
        write_parts(task_set, run.sub("parts"), part_rows=part_rows)
        rows = read_index(run.sub("parts")).rows["train"]
        mean = np.random.default_rng(0).random((sum(rows), 6)).astype(np.float32)
        for number, own in enumerate(np.split(mean, np.cumsum(rows)[:-1])):
            batch = sr.DataMapState.of_visit(own).to_batch(np.arange(len(own)))
            run.write_arrow(f"profile/data_map/epoch-0003/{part_name('train', number)}.arrow", batch)
        values, error, matrix = compute(task_set, folder, method=method, part_rows=part_rows)
        found.append(values)
    assert (matrix.kind, matrix.samples) == ("affinity", sum(rows))
    assert np.isnan(error).all(), "one part"
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_the_logits_are_adjusted_by_the_labels_rates() -> None:
    rng = np.random.default_rng(0)
    tasks = [Task(f"t{t}") for t in range(8)]
    labels = (rng.random((500, 8)) < np.geomspace(0.01, 0.5, 8)).astype(np.int8)
    odds = rate_columns(padded(class_counts([labels], tasks)), tasks)[:, 0]
    logits = rng.normal(size=(500, 1)) * odds + rng.normal(size=(500, 8)) / 2
    sums = moments(logits, np.ones((500, 8), bool)) | {"samples": np.array(500)}
    partial = sums | {"classes": padded(class_counts([labels], tasks))}
    plain = plain_correlation(logits.T)
    found = LogitAdjusted.combine([partial], tasks).values
    off = ~np.eye(8, dtype=bool)
    assert np.abs(plain[off]).mean() > 0.6
    assert np.abs(found[off].mean()) < 0.2


def test_a_label_and_its_absence_are_one_problem() -> None:
    rng = np.random.default_rng(0)
    tasks = [Task(name) for name in ("living", "not living", "cat", "car")]
    living, cat = rng.normal(size=400), rng.normal(size=400)
    logits = np.stack([living, -living, cat, -0.3 * cat + rng.normal(size=400)], axis=1)
    classes = np.array([[40.0, 60], [60, 40], [90, 10], [90, 10]])
    plain = plain_correlation(logits.T)
    found = oriented(plain, classes, tasks)
    assert plain[0, 1] == pytest.approx(-1)
    assert found[0, 1] == pytest.approx(1)
    assert found[2, 3] == pytest.approx(plain[2, 3]), "classes that exclude each other stay apart"
    even = oriented(plain, np.array([[50.0, 50]] * 4), tasks)
    np.testing.assert_allclose(even, np.abs(plain))
    assert np.array_equal(oriented(plain, np.array([[9.0, 91]] * 4), tasks), plain), "all are turned"


def test_a_value_and_its_negative_are_one_problem() -> None:
    rng = np.random.default_rng(0)
    tasks = [Task("heat", kind="regression"), Task("cold", kind="regression"), Task("fire"), Task("rain")]
    heat, rain = rng.normal(size=400), rng.normal(size=400)
    logits = np.stack([heat, -heat + 0.1 * rng.normal(size=400), -heat, rain], axis=1)
    classes = np.array([[0.0, 0], [0, 0], [95, 5], [90, 10]])
    plain = plain_correlation(logits.T)
    found = oriented(plain, classes, tasks)
    assert plain[0, 1] < -0.9
    assert found[0, 1] == pytest.approx(-plain[0, 1])
    assert found[0, 2] == pytest.approx(1), "a class has a side, but a value has none"
    assert found[2, 3] == pytest.approx(plain[2, 3])
    np.testing.assert_allclose(found, found.T)


@pytest.mark.slow
@pytest.mark.parametrize(("near", "has_classes"), [(0.8, True), (0.8, False), (0.0, True)])
def test_regressions_of_one_direction_are_found_whatever_their_signs_and_units(
    near: float, has_classes: bool, tmp_path: Path, quiet: Reporter
) -> None:
    """By the affinity that is the default; values that have nothing in common are one group."""
    rng = np.random.default_rng([8, int(has_classes)])
    inputs = rng.normal(size=(1500, 20)).astype(np.float32)
    centres = np.linalg.qr(rng.normal(size=(20, 3)))[0]
    known, columns = np.repeat([0, 1, 2], 4), {}
    for t, group in enumerate(known):
        own = rng.normal(size=20) / np.sqrt(20)
        values = inputs @ (near * centres[:, group] + np.sqrt(1 - near**2) * own) * rng.choice([-1, 1])
        values += 0.5 * rng.normal(size=1500)
        is_class = has_classes and t % 2 == 1
        columns[f"t{t}"] = values > np.quantile(values, 0.8) if is_class else values * 10 ** rng.uniform(-1, 2)
    task_set = sr.TaskSet.from_arrays(inputs, pd.DataFrame(columns))
    run = sr.run(
        task_set, tmp_path / "run", settings={"profile": {"workers": 1, "epochs": 25}}, until="group", reporter=quiet
    )
    assert run.config.affinity.methods == ["logit_adjusted"]
    if near:
        assert adjusted_rand_score(known, run.groups.labels) == 1
    else:
        assert len(run.groups.groups) == 1
