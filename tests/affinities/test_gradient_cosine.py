"""Cosines of mean gradients against the loop over samples and tasks, on planted structure and on none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.affinities.gradient_cosine import GradientCosine
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.summed import blocks_of
from stg_ray.tasks import TaskSet
from tests.support.oracle import TASKS, compute, example, looped


@pytest.mark.parametrize("layers", ["last", "all"])
@pytest.mark.parametrize("trunk", ["linear", "mlp", "conv", "strided conv", "tokens", "by hand"])
@settings(max_examples=4)
@given(n=st.integers(1, 6), seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.4]))
def test_cosines_are_those_of_the_loop(trunk: str, layers: str, n: int, seed: int, missing: float) -> None:
    network, inputs, labels = example(trunk, n, seed, missing)
    weights = torch.from_numpy(balanced_weights(labels.numpy(), TASKS, class_counts([labels.numpy()], TASKS)))
    own = SampleGradients(network, layers, inputs, dtype=torch.float64)
    products = torch.zeros(len(TASKS), len(TASKS), dtype=torch.float64)
    for block in blocks_of(own):
        sums = GradientCosine.sums_of(own, block, inputs, labels, weights)
        products += sums @ sums.T
    names = None if layers == "all" else own.layers[0].parameters
    mean = torch.einsum("nk,nkp->kp", weights, looped(network, inputs, labels, names))
    torch.testing.assert_close(products, mean @ mean.T, rtol=1e-6, atol=1e-12)
    unit = mean / mean.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(GradientCosine.cosine((mean @ mean.T).numpy()), (unit @ unit.T).numpy(), atol=1e-9)


def test_a_task_without_labels_has_no_gradient_to_compare() -> None:
    cosines = GradientCosine.cosine(np.array([[4.0, 0.0, -4.0], [0.0, 0.0, 0.0], [-4.0, 0.0, 4.0]]))
    assert np.isnan(cosines[1]).all()
    assert np.isnan(cosines[:, 1]).all()
    assert cosines[[0, 0], [0, 2]] == pytest.approx([1, -1])


def _between_blocks(task_set: TaskSet, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The cosines within two planted blocks of three tasks, and between them."""
    values, _, _ = compute(task_set, folder, method="gradient_cosine", samples=100_000, model={"width": 32})
    block = np.arange(6) // 3
    same = (block[:, None] == block) & ~np.eye(6, dtype=bool)
    return values[same], values[block[:, None] != block]


def test_tasks_of_a_block_pull_the_same_way(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    within, between = _between_blocks(make_task_set(n_samples=600, missing=0.2), tmp_path)
    assert within.min() > between.max() + 0.2


def test_tasks_of_noise_pull_no_way_together(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    within, between = _between_blocks(make_task_set(n_samples=600, noise=1000.0), tmp_path)
    assert abs(within.mean() - between.mean()) < 0.2


def test_opposite_tasks_conflict(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=600, blocks=(1, 1), noise=0.01)
    labels = np.stack([task_set.labels[:, 0], 1 - task_set.labels[:, 0]], axis=1)
    opposite = TaskSet.from_arrays(task_set.inputs, labels)
    values, errors, _ = compute(opposite, tmp_path, method="gradient_cosine", samples=100_000)
    assert values[0, 1] < -0.9
    assert errors[0, 1] < 0.1
