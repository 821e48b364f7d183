"""Outputs of a network on many inputs, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import nn

from stg_ray.training.compute import PLAIN, Compute


class Inputs(Protocol):
    """A tensor of inputs (N, ...), or an object that is indexed and split like one without being in memory at once."""

    def __getitem__(self, index: Any, /) -> torch.Tensor:
        """Return the inputs (b, ...) at these positions."""
        ...

    def split(self, size: int, /) -> Iterable[torch.Tensor]:
        """Yield all inputs in their order, `size` at a time."""
        ...


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Inputs, *, compute: Compute = PLAIN, batch_size: int = 1024) -> torch.Tensor:
    """Return the outputs (N, O) of a model, on the CPU; the model is left in evaluation mode.

    Args:
        inputs: (N, ...) raw inputs.
        compute: where and in which precision; the model must be there.
        batch_size: inputs that are computed at once.
    """
    model.eval()
    return torch.cat([compute.forward(model, compute.batch(block)).cpu() for block in inputs.split(batch_size)])
