"""Correlations of labels and logits against NumPy's, with missing labels and with several classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.affinities.correlation import LabelCorrelation, correlations, label_columns, moments
from stg_ray.affinities.resampling import BlockSums
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task, TaskSet
from stg_ray.tasks.labels import observed
from stg_ray.tasks.task import TaskKind
from tests.support.oracle import compute


@settings(max_examples=30)
@given(n=st.integers(20, 60), seed=st.integers(0, 10_000))
def test_of_single_columns_it_is_pearsons(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.stack([rng.integers(0, 2, n), rng.normal(size=n), rng.integers(0, 2, n)], axis=1).astype(float)
    labels[:2, [0, 2]] = [[0, 1], [1, 0]]
    tasks = [Task("a"), Task("b", "regression", 1), Task("c")]
    found = correlations(moments(label_columns(labels, tasks), observed(labels)), np.arange(3))
    np.testing.assert_allclose(found, np.corrcoef(labels.T), atol=1e-9)


def test_over_common_rows_only() -> None:
    """Means and variances are those of the rows that both tasks have."""
    labels = np.array([[0, 0], [1, 1], [0, 0], [1, 1], [1, -1], [1, -1]])
    tasks = [Task("a"), Task("b")]
    sums = moments(label_columns(labels, tasks), observed(labels))
    assert np.isclose(correlations(sums, np.arange(2))[0, 1], 1)
    apart = np.where(np.arange(6)[:, None] < [3, 0], labels, -1)
    apart[4:, 1] = [0, 1]
    assert np.isnan(correlations(moments(label_columns(apart, tasks), observed(apart)), np.arange(2))[0, 1])


def test_of_several_classes_it_does_not_depend_on_their_order_and_sees_what_is_the_same() -> None:
    rng = np.random.default_rng(0)
    a, c = rng.integers(0, 3, 400), rng.integers(0, 2, 400)
    labels = np.stack([a, (a + 1) % 3, c, (a == 2).astype(int)], axis=1)
    tasks = [Task("a", "multiclass", 3), Task("b", "multiclass", 3), Task("c"), Task("d")]
    owner = LabelCorrelation.column_owners(tasks)
    assert owner.tolist() == [0, 0, 0, 1, 1, 1, 2, 3]
    found = correlations(moments(label_columns(labels, tasks), observed(labels)), owner)
    assert np.allclose(np.diag(found), 1)
    assert np.isclose(found[0, 1], 1)
    assert abs(found[0, 2]) < 0.2
    assert 0.5 < found[0, 3] < 1


def test_labels_and_logits_of_parts(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=400, blocks=(2, 2))
    found, error, _ = compute(task_set, tmp_path / "a", method="label_correlation")
    train = task_set.labels[task_set.rows("train")]
    np.testing.assert_allclose(found, np.corrcoef(train.T), atol=1e-9)
    assert (error[~np.eye(4, dtype=bool)] > 0).all()
    torch.manual_seed(0)
    logits, _, matrix = compute(task_set, tmp_path / "b", method="logit_correlation", start="initial")
    np.testing.assert_allclose(logits, np.ones((4, 4)), atol=1e-6), "one head for all tasks"
    assert matrix.kind == "affinity"


def test_parts_of_an_older_version_and_of_this_one_are_combined() -> None:
    """The older one kept the columns' tasks, times the rows, in every part."""
    rng = np.random.default_rng(0)
    tasks = [Task("a", "multiclass", 3), Task("b")]
    partials = []
    for _ in range(6):
        labels = np.stack([rng.integers(0, 3, 50), rng.integers(0, 2, 50)], axis=1)
        sums = moments(label_columns(labels, tasks), observed(labels))
        partials.append({**sums, "samples": np.array(50)})
    older = [{**partial, "owner": LabelCorrelation.column_owners(tasks) * 50} for partial in partials]
    matrix = LabelCorrelation.combine(partials, tasks)
    for mixed in (older, older[:3] + partials[3:], partials[:3] + older[3:]):
        again = LabelCorrelation.combine(mixed, tasks)
        assert np.array_equal(again.values, matrix.values)
        assert again.errors is not None
        assert matrix.errors is not None
        assert np.array_equal(again.errors, matrix.errors)


@pytest.mark.parametrize("kinds", [("binary", "regression", "binary"), ("multiclass", "binary", "regression")])
def test_parts_with_all_labels_and_parts_with_some_add_up(kinds: tuple[TaskKind, ...]) -> None:
    """Where a part has all labels its sums are shorter; with the others they are those of all rows."""
    rng = np.random.default_rng(0)
    tasks = [Task(f"t{t}", kind, 3 if kind == "multiclass" else 2) for t, kind in enumerate(kinds)]
    labels = np.stack([rng.normal(size=90) if k == "regression" else rng.integers(0, 2, 90) for k in kinds], axis=1)
    labels[60:][rng.random((30, 3)) < 0.4] = np.nan
    partials = [
        {**moments(label_columns(part, tasks), observed(part)), "samples": np.array(len(part))}
        for part in (labels[:30], labels[30:60], labels[60:])
    ]
    assert partials[0]["count"].shape == (1, 1)
    assert partials[2]["count"].shape == (3, 3)
    whole = {**moments(label_columns(labels, tasks), observed(labels)), "samples": np.array(90)}
    expected = LabelCorrelation.combine([whole], tasks).values
    for order in ([0, 1, 2], [2, 0, 1]):
        drawn = [partials[number] for number in order]
        np.testing.assert_allclose(LabelCorrelation.combine(drawn, tasks).values, expected, atol=1e-12)
        np.testing.assert_allclose(LabelCorrelation.values(drawn, tasks), expected, atol=1e-12)


@pytest.mark.parametrize("offset", [0, 2000, 200_000])
def test_resamples_of_regressions_are_those_near_zero_wherever_their_values_lie(offset: float) -> None:
    """In single precision the squares of values far from zero have no digits left for their variance."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=1600)
    labels = offset + np.stack([common + 0.5 * rng.normal(size=1600), common, rng.normal(size=1600)], axis=1)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    centers, scales = np.nanmean(labels, axis=0), np.nanstd(labels, axis=0)
    tasks = [Task(f"t{t}", "regression", 1, center=centers[t], scale=scales[t]) for t in range(3)]
    blocks, draws = BlockSums(), []
    for part in np.array_split(labels, 8):
        blocks.add({**moments(label_columns(part, tasks), observed(part)), "samples": np.array(len(part))})
    found = blocks.resampled(LabelCorrelation, tasks, 0)
    assert found is not None
    order = generator(Stream.RESAMPLED_PARTS, 0).integers(0, 8, (len(found), 7))
    for drawn in order:
        rows = np.concatenate([np.array_split(labels, 8)[block] for block in drawn])
        draws.append(pd.DataFrame(rows).corr().to_numpy())
    np.testing.assert_allclose(found, draws, atol=1e-4)
