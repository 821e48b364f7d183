"""Vectors pulled back through a trunk."""

from __future__ import annotations

import torch
from torch import nn

from stg_ray.affinities.aligned import aligned_l1
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.models.network import TaskNetwork
from tests.support.oracle import TASKS


def test_an_operation_that_cannot_be_batched_is_gone_through_one_by_one() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(_: object, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        @staticmethod
        def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(2 * gradient.numpy())  # no batch of gradients has an array

    class Custom(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Doubled.apply(x)

    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(6, 5), Custom())
    plain = nn.Sequential(nn.Linear(6, 5), nn.Identity())
    plain.load_state_dict(trunk.state_dict())
    found = []
    for own in (trunk, plain):
        network = TaskNetwork(nn.Identity(), own, 5, TASKS[:2]).eval()
        nn.init.ones_(network.heads.weight), nn.init.zeros_(network.heads.bias)
        labels = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
        found.append(aligned_l1(SampleGradients(network, "last", torch.ones(2, 6)), torch.zeros(2, 6), labels))
    assert found[0][0] > 0
    assert found[0].shape == found[1].shape
