"""Networks with branches: what is shared and what is not, and that a branch is a network of its group above it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from stg_ray.artifacts.storage import Storage
from stg_ray.config import ModelConfig
from stg_ray.data.parts import PartIndex, write_parts
from stg_ray.errors import InputError
from stg_ray.models import BranchedNetwork, build_network, split_layers
from stg_ray.models.trunks import build_trunk
from stg_ray.tasks import Task, TaskSet

MLP = ModelConfig(trunk="mlp", width=6, depth=4, dropout=0.0)
TASKS = [Task("yes"), Task("which", kind="multiclass", n_classes=3), Task("how much", kind="regression"), Task("no")]


@pytest.fixture
def index(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> PartIndex:
    return write_parts(make_task_set(), Storage(tmp_path))


def network(index: PartIndex, sizes: tuple[int, ...] = (3, 1), *, frozen: bool = False) -> BranchedNetwork:
    return BranchedNetwork(build_network(MLP, index, TASKS, seed=1), sizes, 0.5, frozen=frozen)


def inputs(index: PartIndex) -> torch.Tensor:
    return torch.randn(7, *index.input_shape, generator=torch.Generator().manual_seed(0))


def test_it_begins_as_the_network_that_it_is_made_of(index: PartIndex) -> None:
    state = torch.random.get_rng_state()
    branched = network(index)
    assert torch.equal(torch.random.get_rng_state(), state)
    whole = build_network(MLP, index, TASKS, seed=1)
    torch.testing.assert_close(branched(inputs(index)), whole(inputs(index)))


def test_what_a_group_learns_changes_its_own_branch_and_the_shared_layers_only(index: PartIndex) -> None:
    branched = network(index)
    before = {key: value.clone() for key, value in branched.state_dict().items()}
    torch.optim.SGD(branched.parameters(), lr=1.0).zero_grad()
    branched(inputs(index))[:, -1].square().sum().backward()
    touched = {
        name.split(".")[0] + name.split(".")[1] * name.startswith("branches")
        for name, p in branched.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert touched == {"trunk", "branches1", "heads"}
    assert branched.heads.weight.grad is not None
    assert torch.equal(branched.heads.weight.grad[:-1], torch.zeros(5, 6))
    assert before.keys() == branched.state_dict().keys()


def test_frozen_layers_stay_as_they_are_and_in_evaluation(index: PartIndex) -> None:
    branched = network(index, frozen=True).train()
    assert not branched.trunk.training
    assert branched.branches.training
    before = {key: value.clone() for key, value in branched.state_dict().items()}
    optimizer = torch.optim.AdamW(branched.parameters(), lr=0.1, weight_decay=0.5)
    branched(inputs(index)).square().sum().backward()
    optimizer.step()
    changed = {key for key, value in branched.state_dict().items() if not torch.equal(value, before[key])}
    assert {key.split(".")[0] for key in changed} == {"branches", "heads"}


@pytest.mark.parametrize(("share", "lower"), [(0.01, 1), (0.25, 1), (0.5, 2), (0.6, 2), (0.99, 3)])
def test_the_share_counts_layers_with_weights_and_leaves_one_on_either_side(share: float, lower: int) -> None:
    trunk, *_ = build_trunk(MLP, (5,))
    below, above = split_layers(trunk, share)
    assert [sum(isinstance(layer, nn.Linear) for layer in part) for part in (below, above)] == [lower, 4 - lower]
    assert isinstance(below[-1], nn.ReLU), "what has no weights belongs to the layer below"
    x = torch.randn(3, 5)
    assert torch.equal(above(below(x)), trunk(x))


@pytest.mark.parametrize(("trunk", "shape"), [("cnn", (3, 8, 8)), ("resnet18", (3, 32, 32)), ("resnet50", (3, 64, 64))])
def test_the_halves_of_a_trunk_are_the_trunk(trunk: str, shape: tuple[int, ...]) -> None:
    whole, *_ = build_trunk(ModelConfig(trunk=trunk, width=8), shape)
    below, above = split_layers(whole.eval(), 0.5)
    x = torch.randn(2, *shape)
    with torch.no_grad():
        torch.testing.assert_close(above(below(x)), whole(x))


class _Twice(nn.Sequential):
    """A sequence that is applied otherwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(super().forward(x))


@pytest.mark.parametrize(
    ("trunk", "said"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 6)), "this one is one layer with weights"),
        (_Twice(nn.Linear(5, 5), nn.Linear(5, 5)), "this one is a _Twice, not layers in a sequence"),
    ],
)
def test_a_trunk_that_cannot_be_split_is_said(trunk: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match=said):
        split_layers(trunk, 0.5)
