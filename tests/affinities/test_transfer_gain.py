"""Transfer gains against trainings that take the steps, with every optimizer, heads and missing labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from stg_ray.config import TrainingConfig
from stg_ray.tasks import TaskSet
from stg_ray.training.effects import gains_of_steps
from stg_ray.training.optimization import Optimization
from stg_ray.training.steps import CopiedSteps
from tests.support.oracle import compute, example, losses_of_tasks

OPTIMIZERS = get_args(TrainingConfig.model_fields["optimizer"].annotation)


def _replayed(optimizer: str, clip: float | None, inputs: torch.Tensor, labels: torch.Tensor, last: list[int]) -> float:
    """The loss of the last task after three steps on all tasks, and one on some."""
    network, _, _ = example("batchnorm", 6, 0)
    network.train()
    optimization = Optimization(network, _settings(optimizer, clip), 10)
    for _ in range(3):
        optimization.step(losses_of_tasks(network, inputs, labels).sum())
    optimization.step(losses_of_tasks(network, inputs, labels)[last].sum())
    return float(losses_of_tasks(network, inputs, labels)[last[-1]].detach())


def _settings(optimizer: str, clip: float | None) -> TrainingConfig:
    return TrainingConfig.model_validate({"optimizer": optimizer, "clip": clip, "weight_decay": 0.1, "lr": 5e-3})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.3])
def test_gains_are_those_of_trainings_that_take_the_steps(optimizer: str, clip: float | None) -> None:
    network, inputs, labels = example("batchnorm", 6, 0, 0.2)
    network.train()
    optimization = Optimization(network, _settings(optimizer, clip), 10)
    for _ in range(3):
        optimization.step(losses_of_tasks(network, inputs, labels).sum())
    before = copy.deepcopy((network.state_dict(), optimization.state_dict()))
    found = gains_of_steps(CopiedSteps(network, optimization.optimizer, inputs, labels, clip))
    for i in range(4):
        for j in range(4):
            together = _replayed(optimizer, clip, inputs, labels, [j] if i == j else [i, j])
            expected = 1 - together / _replayed(optimizer, clip, inputs, labels, [j])
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-9), (i, j)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[0][name]), name
    assert str(optimization.state_dict()) == str(before[1])


def test_a_task_without_labels_in_the_batch_has_no_gain_that_is_known() -> None:
    network, inputs, labels = example("mlp", 4, 0)
    labels[:, 1] = torch.nan
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    unknown = torch.isnan(gains_of_steps(CopiedSteps(network, optimizer, inputs, labels)))
    assert unknown[1].all()
    assert unknown[:, 1].all()
    assert not unknown[[0, 2, 3]][:, [0, 2, 3]].any()


def test_tasks_of_a_block_gain_from_each_other(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=400, blocks=(2, 2), noise=0.1)
    profile = {"lr": 0.05, "epochs": 5, "optimizer": "sgd"}
    values, error, _ = compute(task_set, tmp_path, method="transfer_gain", tag_every=3, profile=profile)
    block = np.arange(4) // 2
    same = (block[:, None] == block) & ~np.eye(4, dtype=bool)
    assert values[same].min() > values[block[:, None] != block].max()
    assert np.diag(values) == pytest.approx(np.zeros(4))
    assert np.isnan(error).all()
