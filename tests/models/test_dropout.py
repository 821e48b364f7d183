"""Dropout drops the share that it is given, keeps the mean, and draws from torch's own stream."""

from __future__ import annotations

import math

import pytest
import torch

from stg_ray.models.dropout import dropped

N = 200_000


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_a_share_is_dropped_and_the_mean_is_kept(share: float) -> None:
    torch.manual_seed(0)
    features = torch.ones(N, requires_grad=True)
    found = dropped(features, share)
    kept = found != 0
    error = math.sqrt(share * (1 - share) / N)
    assert abs(kept.double().mean().item() - (1 - share)) < 5 * error
    torch.testing.assert_close(found[kept], torch.full_like(found[kept], 1 / (1 - share)))
    found.sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, found.detach()), "what is dropped learns nothing"


def test_equal_seeds_drop_the_same_and_others_do_not() -> None:
    features = torch.ones(1000)

    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return dropped(features, 0.5)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_none_is_dropped_of_a_share_of_zero_and_bf16_stays_bf16() -> None:
    features = torch.randn(100)
    assert torch.equal(dropped(features, 0.0), features)
    coarse = dropped(torch.ones(N, dtype=torch.bfloat16), 0.01)
    assert coarse.dtype == torch.bfloat16
    error = math.sqrt(0.01 * 0.99 / N)
    assert abs((coarse == 0).double().mean().item() - 0.01) < 5 * error, "of bf16's uniform numbers 3 in 256 are less"
