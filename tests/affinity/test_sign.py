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

from stg_ray.affinity.sign import (
    Block,
    SignAffinity,
    balanced_weights,
    blocks_of,
    centred_cosine,
    class_counts,
    signed_sums,
)
from stg_ray.affinity.start import copy_one_head
from stg_ray.config import AffinityConfig
from stg_ray.config_loading import load_config
from stg_ray.data.parts import write_parts
from stg_ray.grouping import group_tasks
from stg_ray.models import build_network
from stg_ray.storage import Storage
from stg_ray.tasks import TaskSet
from tests.affinity.test_gradients import TASKS, TRUNKS, example


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("trunk", [name for name in TRUNKS if name != "unused last"])
@settings(max_examples=15)
@given(n=st.integers(1, 6), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]))
def test_sums_of_signs_are_those_of_the_loop(trunk: str, layers: str, n: int, seed: int, missing: float) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    counts = class_counts([labels.numpy()], TASKS)
    weights = balanced_weights(labels.numpy(), TASKS, counts).double()
    for block in blocks_of(network, layers, inputs[:1].numpy()):
        layer = network.trunk.get_submodule(block.layer)
        expected = []
        for t in range(len(TASKS)):
            parameters = list(layer.parameters(recurse=False))
            total = [torch.zeros_like(p) for p in parameters]
            for i in range(n):
                if torch.isnan(labels[i, t]):
                    continue
                loss = network.layout.losses(network(inputs[i : i + 1]), labels[i : i + 1])[0, t]
                for own, gradient in zip(total, torch.autograd.grad(loss, parameters), strict=True):
                    own += weights[i, t] * gradient.sign()
            rows = slice(block.start, block.stop)
            expected.append(torch.cat([own[rows].flatten() for own in total]))
        found = signed_sums(network, block, inputs, labels, weights)
        # The order of a block's coordinates is of no importance to inner products: a bias may stand by its row.
        products = torch.stack(expected) @ torch.stack(expected).T
        torch.testing.assert_close((found @ found.T).double(), products.double(), rtol=1e-6, atol=1e-9)


def test_blocks_cover_every_coordinate_once() -> None:
    network, inputs, _ = example("conv", 1, 0, 0.0)
    blocks = blocks_of(network, "all", inputs.numpy())
    rows = {(block.layer, row) for block in blocks for row in range(block.start, block.stop)}
    modules = network.trunk.named_modules()
    expected = {(name, r) for name, m in modules for p in m.parameters(recurse=False) for r in range(len(p))}
    assert rows == expected
    assert sum(block.stop - block.start for block in blocks) == len(expected)
    assert blocks_of(network, "last", inputs.numpy()) == [Block("5", 0, 2), Block("5", 2, 4)]


def test_every_class_of_a_task_has_the_same_part() -> None:
    labels = np.array([[0, 2, 0.3], [0, 0, np.nan], [1, np.nan, 1.0], [0, 2, -2.0]])
    tasks = [TASKS[0], TASKS[2], TASKS[3]]
    weights = balanced_weights(labels, tasks, class_counts([labels[:2], labels[2:]], tasks)).numpy()
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


def test_one_head_for_all_tasks() -> None:
    network, *_ = example("mlp", 1, 0, 0.0)
    copy_one_head(network)
    rows = [network.heads.weight[own] for own in network.layout.columns]
    assert all(torch.equal(own, rows[2][: len(own)]) for own in rows)


def _disjoint(n_tasks: int, n_hidden: int, seed: int) -> TaskSet:
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


def _affinity(task_set: TaskSet, folder: Path) -> tuple[np.ndarray, np.ndarray, object]:
    index = write_parts(task_set, Storage(folder).sub("parts"))
    config = load_config({"data": {"npz": "planted"}, "model": {"trunk": "mlp", "width": 32}})
    network = build_network(config.model, index, index.tasks, 0)
    copy_one_head(network)
    estimator = SignAffinity(Storage(folder), AffinityConfig(statistic="sign", samples=100_000), network)
    partials = [estimator.partial(number) for number in range(len(estimator.blocks))]
    matrix, error = SignAffinity.combine(partials, index.names)
    return matrix.values, error, matrix


def test_planted_structure_is_found_among_tasks_without_common_samples(tmp_path: Path) -> None:
    values, error, matrix = _affinity(_disjoint(9, 3, 0), tmp_path)
    truth = np.arange(9) % 3
    assert adjusted_rand_score(truth, group_tasks(matrix, n_groups=3).labels) == 1  # type: ignore[arg-type]
    same = (truth[:, None] == truth) & ~np.eye(9, dtype=bool)
    assert values[same].min() > values[~same & ~np.eye(9, dtype=bool)].max()
    assert np.diag(values) == pytest.approx(np.ones(9))
    assert (error[same] < 0.3).all()
    assert (error[same] > 0).all()


def test_no_structure_is_found_where_there_is_none(tmp_path: Path) -> None:
    """Random labels: no affinity between different tasks stands out of its standard error."""
    values, error, matrix = _affinity(_disjoint(9, 0, 1), tmp_path)
    upper = np.triu_indices(9, 1)
    expected = -1 / 8  # centred vectors that are independent otherwise
    z = (values[upper] - expected) / error[upper]
    assert np.abs(values[upper]).max() < 0.6
    assert np.median(np.abs(z)) < 2
    assert group_tasks(matrix, n_groups="auto").to_dict()["groups"] == [[f"task_{t}" for t in range(9)]]  # type: ignore[arg-type]


def test_the_sum_over_blocks_does_not_depend_on_how_rows_are_cut(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    task_set = make_task_set(n_samples=200)
    whole, _, _ = _affinity(task_set, tmp_path / "a")
    index = write_parts(task_set, Storage(tmp_path / "b").sub("parts"), part_rows=13)
    config = load_config({"data": {"npz": "planted"}, "model": {"trunk": "mlp", "width": 32}})
    network = build_network(config.model, index, index.tasks, 0)
    copy_one_head(network)
    estimator = SignAffinity(Storage(tmp_path / "b"), AffinityConfig(statistic="sign", samples=100_000), network)
    partials = [estimator.partial(number) for number in range(len(estimator.blocks))]
    np.testing.assert_allclose(SignAffinity.combine(partials, index.names)[0].values, whole, atol=1e-5)
