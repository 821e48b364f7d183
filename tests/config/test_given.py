"""Modules that are given in Python as `model.trunk`: a setting that is equal for equal modules."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from stg_ray.config.given import is_module, keep, kept
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> Any:
        return self.linear(x) * self.scale


def made(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build()


def test_equal_modules_are_one_setting() -> None:
    name = keep(made(lambda: Scaled(2)), "model.trunk")
    assert keep(made(lambda: Scaled(2)), "model.trunk") == name
    assert keep(made(lambda: Scaled(2)).eval(), "model.trunk") == name
    others = [made(lambda: Scaled(3)), made(lambda: Scaled(2), seed=1), made(lambda: nn.Linear(3, 2))]
    assert len({keep(other, "model.trunk") for other in others} | {name}) == 4
    assert kept(name) is not None
    assert kept("(given):none") is None


def test_instances_are_modules_and_classes_are_none() -> None:
    assert is_module(nn.Linear(1, 1))
    assert not is_module(nn.Linear)
    assert not is_module("mlp")


def test_a_configuration_takes_a_module() -> None:
    module = made(lambda: Scaled(2))
    config = load_config({"data": {"npz": "mine.npz"}, "model": {"trunk": module}})
    assert config.model.trunk == keep(module, "model.trunk")
    assert load_config(config.model_dump()) == config


def test_a_module_that_cannot_be_pickled() -> None:
    module = nn.Linear(1, 1)
    module.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"model.trunk is a Linear that cannot be pickled .*give a function of a file"):
        load_config({"data": {"npz": "mine.npz"}, "model": {"trunk": module}})
