"""Inputs are evaluated a block at a time: as many rows as their size allows, with the outputs of one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stg_ray.training.evaluation import FEWEST_ROWS, MOST_ROWS, VALUES_AT_ONCE, evaluate, rows_at_once


class Noted(nn.Module):
    """The mean of each input; it notes how many it is given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(inputs))
        return inputs.flatten(1).mean(dim=1, keepdim=True)


@pytest.mark.parametrize("shape", [(3,), (3, 32, 32), (3, 200, 200)])
def test_blocks_are_as_large_as_rows_are_small(shape: tuple[int, ...]) -> None:
    rows, model = torch.rand(200, *shape), Noted()
    found = evaluate(model, rows)
    torch.testing.assert_close(found, rows.flatten(1).mean(dim=1, keepdim=True))
    size = rows_at_once(math.prod(shape))
    assert model.sizes == [len(block) for block in rows.split(size)]
    assert size * math.prod(shape) <= VALUES_AT_ONCE or size == FEWEST_ROWS
    assert FEWEST_ROWS <= size <= MOST_ROWS


def test_no_rows_have_no_outputs() -> None:
    assert evaluate(Noted(), torch.rand(0, 5)).shape == (0, 1)
