"""Effects of a step on one task on the others, against taking the step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.grouping.stage import describe
from stg_ray.tasks import TaskSet
from stg_ray.training.effects import effects_of_steps
from tests.support.oracle import compute, example


@pytest.mark.parametrize("trunk", ["mlp", "batchnorm", "conv"])
def test_effects_are_those_of_steps_that_are_taken(trunk: str) -> None:
    network, inputs, labels = example(trunk, 6, 0, 0.2)
    network.train()
    before = copy.deepcopy(network.state_dict())

    def losses(own: torch.nn.Module) -> torch.Tensor:
        total = network.layout.losses(own(inputs), labels).sum(dim=0)
        return total / (~torch.isnan(labels)).sum(dim=0)

    expected = torch.zeros(4, 4, dtype=torch.float64)
    for task in range(4):
        moved = copy.deepcopy(network)
        start = losses(moved)
        start[task].backward()
        with torch.no_grad():
            for parameter in moved.trunk.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
            expected[task] = 1 - losses(moved) / start
    found = effects_of_steps(network, inputs, labels, 0.1)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_task_without_labels_in_the_batch_has_no_effect_that_is_known() -> None:
    network, inputs, labels = example("mlp", 4, 0)
    labels[:, 1] = torch.nan
    found = effects_of_steps(network, inputs, labels, 0.1)
    unknown = torch.isnan(found)
    assert unknown[1].all()
    assert unknown[:, 1].all()
    assert not unknown[[0, 2, 3]][:, [0, 2, 3]].any()


def test_tasks_of_a_block_help_each_other(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    task_set = make_task_set(n_samples=400, blocks=(2, 2), noise=0.1)
    values, _, _ = compute(task_set, tmp_path, method="tag", tag_every=3, profile={"lr": 0.05, "epochs": 10})
    block = np.arange(4) // 2
    same = (block[:, None] == block) & ~np.eye(4, dtype=bool)
    assert values[same].min() > values[block[:, None] != block].max()
    assert (np.diag(values) > 0).all()


def test_one_training_has_no_errors_and_its_groups_no_certainty(
    make_task_set: Callable[..., TaskSet], tmp_path: Path
) -> None:
    """Looks at one trajectory say little of another's: no certainty is claimed, and stability is refused."""
    task_set = make_task_set(n_samples=400, blocks=(2, 2), noise=0.1)
    _, errors, matrix = compute(task_set, tmp_path, method="tag", tag_every=3, profile={"lr": 0.05, "epochs": 2})
    assert np.isnan(errors).all()
    groups = group_tasks(matrix, n_groups=2, errors=[errors])
    assert groups.certainty is None
    assert "certainty" not in describe(groups)
    with pytest.raises(InputError, match="stability needs the affinities' errors"):
        group_tasks(matrix, errors=[errors], criterion="stability")
