"""Correlation of the tasks' confidences against NumPy's; what it finds, and what it must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stg_ray as sr
from stg_ray.affinities.confidence import SURE
from stg_ray.affinities.estimators import check_methods
from stg_ray.artifacts.storage import Storage
from stg_ray.config import AffinityConfig
from stg_ray.data.parts import index_of, part_name, read_index, write_parts
from tests.support.oracle import compute


def state_of(mean: np.ndarray) -> sr.DataMapState:
    return sr.DataMapState(np.full(len(mean), 3, np.int32), mean.astype(np.float32), np.zeros_like(mean, np.float32))


@settings(max_examples=30)
@given(n=st.integers(8, 40), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.3]))
def test_it_is_the_correlation_of_log_odds_at_common_samples(n: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    mean = rng.random((n, 3))
    mean[rng.random((n, 3)) < missing] = np.nan
    mean[:3] = np.eye(3)  # as sure as can be
    found = sr.confidence_correlation(state_of(mean)).values
    near = np.clip(mean.astype(np.float32).astype(np.float64), SURE, 1 - SURE)
    odds = np.log(near / (1 - near))
    for a in range(3):
        for b in range(3):
            rows = ~np.isnan(odds[:, [a, b]]).any(axis=1)
            expected = np.corrcoef(odds[rows][:, [a, b]].T)[0, 1]
            assert found[a, b] == pytest.approx(expected, abs=1e-6)


def test_parts_add_up_to_what_all_samples_give(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=300, blocks=(2, 2))
    run = Storage(tmp_path)
    write_parts(task_set, run.sub("parts"), part_rows=64)
    rows = read_index(run.sub("parts")).rows["train"]
    mean = np.random.default_rng(0).random((sum(rows), 4))
    for number, own in enumerate(np.split(mean, np.cumsum(rows)[:-1])):
        name = f"profile/data_map/epoch-0003/{part_name('train', number)}.arrow"
        run.write_arrow(name, state_of(own).to_batch(np.arange(len(own))))
    found, error, matrix = compute(task_set, tmp_path, method="confidence_correlation", part_rows=64)
    np.testing.assert_allclose(found, sr.confidence_correlation(state_of(mean)).values, atol=1e-9)
    assert len(rows) > 2
    assert (error[~np.eye(4, dtype=bool)] > 0).all()
    assert (matrix.kind, matrix.samples) == ("affinity", sum(rows))


def difficulties(rng: np.random.Generator, shared: float, n: int = 2000) -> np.ndarray:
    """Mean confidences (n, 9) of three blocks of three tasks, in which the samples' difficulty is `shared` in parts;
    tasks differ in how hard they are altogether, more than samples do."""
    block = np.repeat(rng.normal(size=(n, 3)), 3, axis=1)
    own = rng.normal(size=(n, 9))
    return 1 / (1 + np.exp(-(np.sqrt(shared) * block + np.sqrt(1 - shared) * own + rng.normal(size=9) * 3)))


def test_planted_blocks_are_found_however_hard_their_tasks_are() -> None:
    matrix = sr.confidence_correlation(state_of(difficulties(np.random.default_rng(0), 0.5)))
    groups = sr.group(matrix, n_groups=3)
    assert [sorted(group) for group in groups.groups] == [[f"task_{3 * b + t}" for t in range(3)] for b in range(3)]


def test_without_a_common_difficulty_there_is_no_structure() -> None:
    alone = [
        len(sr.group(sr.confidence_correlation(state_of(difficulties(np.random.default_rng(seed), 0.0)))).groups)
        for seed in range(10)
    ]
    assert sum(n == 1 for n in alone) >= 9, alone


def test_a_task_that_is_not_learned_is_like_no_other() -> None:
    """Its distance to hard tasks is small, since all of them are near one half; its correlation is none."""
    rng = np.random.default_rng(0)
    hard = 0.5 + 0.15 * np.tanh(rng.normal(size=(2000, 1)) + 0.5 * rng.normal(size=(2000, 2)))
    easy = 0.95 + 0.04 * np.tanh(rng.normal(size=(2000, 1)) + 0.5 * rng.normal(size=(2000, 3)))
    noise = 0.5 + 0.02 * rng.normal(size=(2000, 1))
    state = state_of(np.concatenate([easy, hard, noise], axis=1))
    distance = sr.data_map_distance([state]).values
    assert distance[5, 3:5].max() < distance[5, :3].min() / 3, "by its distance it is one of the hard ones"
    matrix = sr.confidence_correlation(state)
    assert np.abs(matrix.values[5, :5]).max() < 0.1
    groups = sr.group(matrix, method="kmeans", n_groups=3)
    assert ["task_5"] in groups.groups


@pytest.mark.parametrize("constant", [0.73, 0.99999, 1.0])
def test_a_task_of_constant_confidence_has_no_correlation(constant: float) -> None:
    mean = np.random.default_rng(0).random((20_000, 3))
    mean[:, :2] = constant
    values = sr.confidence_correlation(state_of(mean)).values
    assert np.isnan(values[:2]).all()
    assert values[2, 2] == pytest.approx(1)


def test_regressions_have_no_confidence() -> None:
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(60) % 2, rng.normal(size=60)], axis=1)
    task_set = sr.TaskSet.from_arrays(rng.normal(size=(60, 4)), labels, kinds=["binary", "regression"])
    with pytest.raises(sr.InputError, match=r"has confidence_correlation, but task .* is a regression"):
        check_methods(AffinityConfig(methods=["confidence_correlation"]), index_of(task_set))
