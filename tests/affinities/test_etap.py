"""ETAP's effects against finite differences of steps that are taken, with every optimizer, heads and missing labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.config import TrainingConfig
from stg_ray.models import TaskNetwork
from stg_ray.tasks import TaskSet
from stg_ray.training.effects import effects_of_steps, effects_of_updates
from stg_ray.training.optimization import Optimization
from stg_ray.training.steps import CopiedSteps
from tests.support.oracle import compute, example, losses_of_tasks

OPTIMIZERS = get_args(TrainingConfig.model_fields["optimizer"].annotation)


def _moved(network: TaskNetwork, update: list[torch.Tensor], share: float) -> TaskNetwork:
    moved = copy.deepcopy(network)
    with torch.no_grad():
        for parameter, step in zip(moved.trunk.parameters(), update, strict=True):
            parameter -= share * step
    return moved


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.3])
def test_effects_are_derivatives_of_losses_along_steps_that_are_taken(optimizer: str, clip: float | None) -> None:
    network, inputs, labels = example("mlp", 6, 0, 0.2)
    settings = TrainingConfig.model_validate({"optimizer": optimizer, "clip": clip, "weight_decay": 0.1, "lr": 5e-3})
    optimization = Optimization(network, settings, 10)
    for _ in range(3):  # so that there is momentum
        optimization.step(losses_of_tasks(network, inputs, labels).sum())
    before = copy.deepcopy((network.state_dict(), optimization.state_dict()))
    found = effects_of_updates(CopiedSteps(network, optimization.optimizer, inputs, labels, clip))

    def update(task: int, weight: float) -> list[torch.Tensor]:
        stepped, stepper = copy.deepcopy((network, optimization.optimizer))
        stepper.zero_grad()
        (weight * losses_of_tasks(stepped, inputs, labels)[task]).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(stepped.parameters(), clip)
        stepper.step()
        pairs = zip(network.trunk.parameters(), stepped.trunk.parameters(), strict=True)
        return [a.detach() - b.detach() for a, b in pairs]

    for i in range(4):
        update_of_i = [a - b for a, b in zip(update(i, 1.0), update(i, 0.0), strict=True)]
        size = 1e-4
        low, high = (losses_of_tasks(_moved(network, update_of_i, share), inputs, labels) for share in (-size, size))
        expected = (low - high) / (2 * size) / losses_of_tasks(network, inputs, labels)
        np.testing.assert_allclose(found[i].numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-9)
    assert all(torch.equal(value, before[0][name]) for name, value in network.state_dict().items())
    assert str(optimization.state_dict()) == str(before[1])


@given(rows=st.integers(3, 8), seed=st.integers(0, 50), missing=st.sampled_from([0.0, 0.3]))
def test_plain_small_steps_are_those_that_tag_looks_ahead_at(rows: int, seed: int, missing: float) -> None:
    network, inputs, labels = example("mlp", rows, seed, missing)
    network.eval()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-6)
    found = effects_of_updates(CopiedSteps(network, optimizer, inputs, labels))
    ahead = effects_of_steps(network, inputs, labels, 1e-6)
    np.testing.assert_allclose(found.numpy() * 1e6, ahead.numpy() * 1e6, rtol=1e-3, atol=1e-4)


def test_a_task_without_labels_in_the_batch_has_no_effect_that_is_known() -> None:
    network, inputs, labels = example("mlp", 4, 0)
    labels[:, 1] = torch.nan
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    unknown = torch.isnan(effects_of_updates(CopiedSteps(network, optimizer, inputs, labels)))
    assert unknown[1].all()
    assert unknown[:, 1].all()
    assert not unknown[[0, 2, 3]][:, [0, 2, 3]].any()


def test_tasks_of_a_block_help_each_other(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=400, blocks=(2, 2), noise=0.1)
    profile = {"lr": 0.05, "epochs": 5, "optimizer": "sgd"}
    values, error, _ = compute(task_set, tmp_path, method="etap", tag_every=3, profile=profile)
    block = np.arange(4) // 2
    same = (block[:, None] == block) & ~np.eye(4, dtype=bool)
    assert values[same].min() > values[block[:, None] != block].max()
    assert np.isnan(error).all()


def test_tasks_that_have_nothing_in_common_have_hardly_an_effect_on_each_other(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    """Labels are drawn at random, for each task by itself: a step on one task is of no use to the others."""
    task_set = make_task_set(n_samples=800, blocks=(4,))
    labels = np.random.default_rng(0).integers(0, 2, task_set.labels.shape).astype(np.int8)
    profile = {"lr": 0.05, "epochs": 3, "optimizer": "sgd"}
    values, _, _ = compute(replace(task_set, labels=labels), tmp_path, method="etap", tag_every=2, profile=profile)
    others = values[~np.eye(4, dtype=bool)]
    assert abs(others.mean()) < 0.1 * np.diag(values).mean()
    assert np.abs(others).max() < 0.5 * np.diag(values).min()
