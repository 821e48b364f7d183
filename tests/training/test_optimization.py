"""Learning rates, optimisers and clipping of a training run, and its continuation."""

from __future__ import annotations

import copy
import itertools
from typing import get_args

import pytest
import torch
from torch import nn

from stg_ray.config import TrainingConfig
from stg_ray.training.optimization import OPTIMIZERS, Optimization, lr_factor


def test_the_learning_rate_rises_and_falls() -> None:
    factors = [lr_factor(step, n_steps=100, warmup=0.2, schedule="cosine") for step in range(101)]
    assert factors[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert factors[20] == 1
    assert factors[60] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert all(a >= b for a, b in itertools.pairwise(factors[20:]))
    constant = [lr_factor(step, n_steps=100, warmup=0.1, schedule="constant") for step in range(100)]
    assert constant[9:] == [1] * 91
    assert lr_factor(0, n_steps=3, warmup=0.0, schedule="constant") == 1


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_every_optimiser_learns_and_goes_on_where_it_was(optimizer: str) -> None:
    config = TrainingConfig(optimizer=optimizer, lr=0.05, weight_decay=1e-4, warmup=0.1, schedule="cosine")
    torch.manual_seed(0)
    model = nn.Linear(5, 1)
    inputs, wanted = torch.randn(64, 5), torch.randn(64, 1)

    def steps(model: nn.Module, optimization: Optimization, n: int) -> float:
        for _ in range(n):
            loss = (model(inputs) - wanted).square().mean()
            optimization.step(loss)
        return loss.item()

    optimization = Optimization(model, config, 60)
    first = steps(model, optimization, 1)
    steps(model, optimization, 29)
    saved = copy.deepcopy((model.state_dict(), optimization.state_dict()))
    last = steps(model, optimization, 30)
    assert last < first
    other = nn.Linear(5, 1)
    other.load_state_dict(saved[0])
    resumed = Optimization(other, config, 60)
    resumed.load_state_dict(saved[1])
    assert steps(other, resumed, 30) == last


def test_the_configuration_names_every_optimiser() -> None:
    assert set(get_args(TrainingConfig.model_fields["optimizer"].annotation)) == set(OPTIMIZERS)


def test_long_gradients_are_clipped() -> None:
    moved = {}
    for clip in (None, 0.1):
        torch.manual_seed(0)
        model = nn.Linear(3, 1)
        before = model.weight.detach().clone()
        optimization = Optimization(
            model, TrainingConfig(optimizer="sgd", lr=1.0, weight_decay=1e-4, warmup=0, clip=clip), 10
        )
        optimization.step(model(torch.full((1, 3), 100.0)).sum())
        moved[clip] = (model.weight - before).norm().item()
    assert moved[None] > 100
    assert moved[0.1] < 0.2
