"""Networks: equal seeds give equal trunks, raw inputs go in, wrong trunks are refused."""

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
from stg_ray.models import build_network, load_weights, save_network
from stg_ray.models.trunks import build_trunk
from stg_ray.tasks import TaskSet


def seven_features(input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Linear(input_shape[0], 7)


def three_dimensional(_input_shape: tuple[int, ...]) -> nn.Module:
    return nn.Unflatten(1, (1, -1))


def no_module(_input_shape: tuple[int, ...]) -> int:
    return 3


@pytest.fixture
def index(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> PartIndex:
    return write_parts(make_task_set(), Storage(tmp_path))


@pytest.mark.parametrize(("trunk", "shape"), [("linear", (5,)), ("mlp", (5,)), ("mlp", (2, 4, 4)), ("auto", (9,))])
def test_trunks_take_any_input_and_give_features(trunk: str, shape: tuple[int, ...]) -> None:
    module, n_features, _ = build_trunk(ModelConfig(trunk=trunk, width=6, depth=3), shape)
    assert module(torch.zeros(4, *shape)).shape == (4, n_features) == (4, 6)


@pytest.mark.parametrize("side", [4, 8, 28, 32, 50, 64])
def test_the_cnn_takes_images_of_any_size(side: int) -> None:
    module, n_features, _ = build_trunk(ModelConfig(trunk="auto", width=16), (3, side, side))
    assert any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    assert module(torch.zeros(2, 3, side, side)).shape == (2, n_features)


def test_the_cnn_has_the_documented_size() -> None:
    trunk, *_ = build_trunk(ModelConfig(trunk="cnn", width=128), (3, 32, 32))
    assert sum(p.numel() for p in trunk.parameters()) == 355_520


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (64, 3), (64, 4)])
def test_resnets_take_small_and_large_images(side: int, channels: int) -> None:
    module, n_features, _ = build_trunk(ModelConfig(trunk="resnet18"), (channels, side, side))
    assert n_features == 512
    stem = module.conv1
    assert isinstance(stem, nn.Conv2d)
    assert stem.stride == ((1, 1) if side < 64 else (2, 2))
    assert module(torch.zeros(2, channels, side, side)).shape == (2, 512)


def test_equal_seeds_give_equal_trunks_whatever_the_tasks(index: PartIndex) -> None:
    everything = build_network(ModelConfig(trunk="mlp"), index, index.tasks, seed=3)
    two = build_network(ModelConfig(trunk="mlp"), index, index.tasks[:2], seed=3)
    other = build_network(ModelConfig(trunk="mlp"), index, index.tasks, seed=4)
    for a, b, c in zip(everything.trunk.parameters(), two.trunk.parameters(), other.trunk.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


@pytest.mark.parametrize("trunk", ["linear", "mlp"])
def test_dropout_is_for_training_steps_only_and_leaves_the_weights_names(trunk: str, index: PartIndex) -> None:
    plain, dropped = (
        build_network(ModelConfig(trunk=trunk, depth=2, dropout=share), index, index.tasks, 0) for share in (0.0, 0.5)
    )
    assert list(plain.state_dict()) == list(dropped.state_dict())
    inputs = torch.zeros(64, *index.input_shape) + 3
    assert torch.equal(plain.eval()(inputs), dropped.eval()(inputs))
    outputs = dropped.train()(inputs)
    assert outputs.std(dim=0).min() > 0, "equal rows lose different features"
    assert plain.train()(inputs).std(dim=0).max() < 1e-6


def test_a_trunk_of_the_users(index: PartIndex) -> None:
    network = build_network(ModelConfig(trunk=f"{__name__}:seven_features"), index, index.tasks, seed=0)
    assert network.heads.in_features == 7


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (f"{__name__}:three_dimensional", r"\(2, 1, 12\) for 2 inputs"),
        (f"{__name__}:no_module", "gave int"),
        (f"{__name__}:missing", "has no 'missing'"),
        ("cnn", "needs images"),
        ("resnet34", "needs images"),
    ],
)
def test_trunks_that_do_not_fit_are_refused(trunk: str, message: str, index: PartIndex) -> None:
    with pytest.raises(InputError, match=message):
        build_network(ModelConfig(trunk=trunk), index, index.tasks, seed=0)


def test_weights_are_read_back_without_running_code(index: PartIndex, tmp_path: Path) -> None:
    network = build_network(ModelConfig(trunk="mlp"), index, index.tasks, seed=0)
    save_network(Storage(tmp_path), "network.pt", network)
    other = build_network(ModelConfig(trunk="mlp"), index, index.tasks, seed=1)
    other.load_state_dict(load_weights(Storage(tmp_path), "network.pt"))
    inputs = torch.rand(3, 12)
    assert torch.equal(network.eval()(inputs), other.eval()(inputs))
