"""What layers of a trunk are given and put out, and what comes back to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass
class Calls:
    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


class Capture:
    """Runs the trunk and keeps what modules are given and put out."""

    def __init__(self, trunk: nn.Module, names: Sequence[str]) -> None:
        self.trunk, self.names = trunk, names
        self.calls: dict[str, Calls] = {}

    def run(self, x: torch.Tensor) -> torch.Tensor:
        handles = [self.trunk.get_submodule(n).register_forward_hook(self._hook(n)) for n in self.names]
        try:
            return self.trunk(x)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            calls = self.calls.setdefault(name, Calls())
            kept = output if output.requires_grad else output.detach().requires_grad_()
            calls.inputs.append(args[0].detach())
            calls.outputs.append(kept)
            return kept.clone()  # what follows may change it in place

        return keep


def pull_back(features: torch.Tensor, outputs: list[torch.Tensor], v: torch.Tensor) -> list[torch.Tensor]:
    """The errors (n, K, ...) at the outputs of layers: v_it (n, K, d) pulled back to them. With more tasks than
    features, the unit vectors are, and v is multiplied by the Jacobians that they give."""
    n, n_tasks, d = v.shape
    by_jacobian = n_tasks > d
    if by_jacobian:
        vectors = torch.eye(d, dtype=v.dtype, device=v.device)[:, None, :].expand(d, n, d)
    else:
        vectors = v.transpose(0, 1)
    try:
        found = torch.autograd.grad(
            features, outputs, vectors, is_grads_batched=True, retain_graph=True, materialize_grads=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # An operation that cannot be batched (one of the user's own): one vector after the other.
        one_by_one = [
            torch.autograd.grad(features, outputs, vector, retain_graph=True, materialize_grads=True)
            for vector in vectors
        ]
        found = tuple(torch.stack(own) for own in zip(*one_by_one, strict=True))
    errors = []
    for back in found:
        own = back.detach().transpose(0, 1)
        errors.append((v @ own.flatten(2)).reshape(n, n_tasks, *own.shape[2:]) if by_jacobian else own)
    return errors


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, on a GPU or a CPU, or Python had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
