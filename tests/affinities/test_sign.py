"""The sign statistic against the loop over samples and tasks, on planted structure and on none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.sign import SignAffinity, centred_cosine
from stg_ray.affinities.summed import Block, blocks_of
from stg_ray.grouping import group_tasks
from stg_ray.tasks import TaskSet
from tests.support.oracle import TASKS, compute, example, looped


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("trunk", ["linear", "mlp", "conv", "tokens", "by hand"])
@settings(max_examples=4)
@given(n=st.integers(1, 6), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]))
def test_sums_of_signs_are_those_of_the_loop(trunk: str, layers: str, n: int, seed: int, missing: float) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    weights = torch.from_numpy(balanced_weights(labels.numpy(), TASKS, class_counts([labels.numpy()], TASKS)))
    own = SampleGradients(network, layers, inputs, dtype=torch.float64)
    found = torch.zeros(len(TASKS), len(TASKS), dtype=torch.float64)
    for block in blocks_of(own):
        sums = SignAffinity.sums_of(own, block, inputs, labels, weights)
        found += sums @ sums.T
    names = None if layers == "all" else own.layers[0].parameters
    gradients = looped(network, inputs, labels, names)
    signs = torch.where(gradients.abs() < 1e-14, 0, gradients).sign()
    expected = torch.einsum("nk,nkp->kp", weights, signs)
    torch.testing.assert_close(found, expected @ expected.T, rtol=1e-6, atol=1e-9)


def test_blocks_cover_every_coordinate_once() -> None:
    network, inputs, _ = example("conv", 1, 0)
    own = SampleGradients(network, "all", inputs, dtype=torch.float64)
    rows = [(block.layer, row) for block in blocks_of(own) for row in range(block.start, block.stop)]
    assert rows == [(layer.name, row) for layer in own.layers for row in range(layer.n_rows)]
    last = SampleGradients(network, "last", inputs, dtype=torch.float64)
    assert blocks_of(last) == [Block("5", 0, 2), Block("5", 2, 4)]


def test_every_class_of_a_task_has_the_same_part() -> None:
    labels = np.array([[0, 2, 0.3], [0, 0, np.nan], [1, np.nan, 1.0], [0, 2, -2.0]])
    tasks = [TASKS[0], TASKS[2], TASKS[3]]
    weights = balanced_weights(labels, tasks, class_counts([labels[:2], labels[2:]], tasks))
    assert weights[:, 0] == pytest.approx([1 / 6, 1 / 6, 1 / 2, 1 / 6])
    assert weights[:, 1] == pytest.approx([1 / 4, 1 / 2, 0, 1 / 4]), "class 1 does not occur"
    assert weights[:, 2] == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


@given(n_tasks=st.integers(2, 8), dimension=st.integers(1, 20), seed=st.integers(0, 1000))
def test_centred_cosine_is_that_of_centred_vectors(n_tasks: int, dimension: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n_tasks, dimension))
    centred = vectors - vectors.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1)
    expected = centred @ centred.T / np.outer(norms, norms)
    np.testing.assert_allclose(centred_cosine(vectors @ vectors.T), expected, rtol=1e-6, atol=1e-7)


def disjoint(n_tasks: int, n_hidden: int, seed: int) -> TaskSet:
    """Each task has samples of its own; its labels follow one of the hidden directions, or none."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n_tasks * 150, 12)).astype(np.float32)
    directions = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    labels = np.full((len(inputs), n_tasks), -1, dtype=np.int8)
    for t in range(n_tasks):
        rows = slice(150 * t, 150 * (t + 1))
        signal = inputs[rows] @ directions[t % n_hidden] if n_hidden else rng.normal(size=150)
        labels[rows, t] = signal > 0
    return TaskSet.from_arrays(inputs, labels, kinds=["binary"] * n_tasks, seed=seed)


def _affinity(task_set: TaskSet, folder: Path, part_rows: int | None = None) -> tuple[np.ndarray, np.ndarray, object]:
    return compute(
        task_set, folder, part_rows=part_rows, statistic="sign", start="initial", samples=100_000, model={"width": 32}
    )


def test_planted_structure_is_found_among_tasks_without_common_samples(tmp_path: Path) -> None:
    values, error, matrix = _affinity(disjoint(9, 3, 0), tmp_path)
    truth = np.arange(9) % 3
    assert adjusted_rand_score(truth, group_tasks(matrix, n_groups=3).labels) == 1
    same = (truth[:, None] == truth) & ~np.eye(9, dtype=bool)
    assert values[same].min() > values[~same & ~np.eye(9, dtype=bool)].max()
    assert np.diag(values) == pytest.approx(np.ones(9))
    assert (error[same] < 0.3).all()
    assert (error[same] > 0).all()


def test_no_structure_is_found_where_there_is_none(tmp_path: Path) -> None:
    """Random labels: no affinity between different tasks stands out of its standard error."""
    values, error, matrix = _affinity(disjoint(9, 0, 1), tmp_path)
    upper = np.triu_indices(9, 1)
    expected = -1 / 8  # centred vectors that are independent otherwise
    z = (values[upper] - expected) / error[upper]
    assert np.abs(values[upper]).max() < 0.6
    assert np.median(np.abs(z)) < 2
    assert group_tasks(matrix, n_groups="auto").to_dict()["groups"] == [[f"task_{t}" for t in range(9)]]


def test_the_sum_over_blocks_does_not_depend_on_how_rows_are_cut(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    task_set = make_task_set(n_samples=200)
    whole, _, _ = _affinity(task_set, tmp_path / "a")
    cut, _, _ = _affinity(task_set, tmp_path / "b", part_rows=13)
    np.testing.assert_allclose(cut, whole, atol=1e-5)
