"""The inputs and outputs of a trunk's layers, and the errors that come back to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from stg_ray.training.compute import exact_float32

Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]


@dataclass
class Calls:
    """Inputs and outputs of a layer, call by call.

    Attributes:
        inputs: (n, ...) of each call, detached.
        outputs: (n, ...) of each call, from which the features can be differentiated.
    """

    inputs: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


class Capture:
    """A run of the trunk that keeps the inputs and outputs of some of its modules.

    Args:
        trunk: the trunk.
        names: of the modules; each is called with one tensor and returns one.

    Attributes:
        calls: of each module that was called, by its name.
    """

    def __init__(self, trunk: nn.Module, names: Sequence[str]) -> None:
        self.trunk, self.names = trunk, names
        self.calls: dict[str, Calls] = {}

    @exact_float32()
    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features of normalised inputs, and keep what the modules see."""
        with differentiable_in_evaluation(self.trunk):
            return self._run(x)

    def _run(self, x: torch.Tensor) -> torch.Tensor:
        handles = [self.trunk.get_submodule(n).register_forward_hook(self._hook(n)) for n in self.names]
        try:
            features: torch.Tensor = self.trunk(x)
            return features
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Hook:
        def keep(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            calls = self.calls.setdefault(name, Calls())
            kept = output if output.requires_grad else output.detach().requires_grad_()
            calls.inputs.append(args[0].detach())
            calls.outputs.append(kept)
            return kept.clone()  # what follows may change it in place

        return keep


@contextmanager
def differentiable_in_evaluation(trunk: nn.Module) -> Iterator[None]:
    """Let a trunk in evaluation mode be differentiated: cuDNN's recurrent layers can be in training mode only."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in trunk.modules())
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = enabled and not recurrent
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


@exact_float32()
def pull_back(features: torch.Tensor, outputs: list[torch.Tensor], v: torch.Tensor) -> list[torch.Tensor]:
    """Pull vectors at the features back to the outputs of layers.

    With more tasks than features the unit vectors are pulled back instead, and v is multiplied by the Jacobians that
    they give.

    Args:
        features: (n, d), with their graph, which is kept.
        outputs: (n, ...) of the layers, from which the features were computed.
        v: (n, K, d) the vectors.

    Returns:
        For each output the errors (n, K, ...).
    """
    n, n_tasks, d = v.shape
    by_jacobian = n_tasks > d
    if by_jacobian:
        vectors = torch.eye(d, dtype=v.dtype, device=v.device)[:, None, :].expand(d, n, d)
    else:
        vectors = v.transpose(0, 1)
    try:
        pulled = torch.autograd.grad(
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
        pulled = tuple(torch.stack(of_output) for of_output in zip(*one_by_one, strict=True))
    errors = []
    for of_vectors in pulled:
        by_sample = of_vectors.detach().transpose(0, 1)
        if by_jacobian:
            errors.append((v @ by_sample.flatten(2)).reshape(n, n_tasks, *by_sample.shape[2:]))
        else:
            errors.append(by_sample)
    return errors


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch, on a GPU or a CPU, or Python had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
