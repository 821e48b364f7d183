"""Steps of a training's own optimizer that are taken by a copy and taken back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import nn

from stg_ray.models import TaskNetwork

Look = TypeVar("Look")


class CopiedSteps:
    """A copy of a network and its optimizer that takes steps on single tasks of a batch, one after the other.

    The network, the optimizer and torch's random state are left as they were, and so is the copy after every step.

    Args:
        network: of K tasks.
        optimizer: of the network's parameters.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        clip: largest norm of a step's gradient.

    Attributes:
        parameters: of the copy.
        before: (K,) mean losses of the tasks on the batch.
        gradients: of each of them, for all parameters.
        has_labels: (K,) whether the batch has a label of the task.
    """

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: torch.optim.Optimizer,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        clip: float | None = None,
    ) -> None:
        self.inputs, self.labels, self.clip = inputs, labels, clip
        count = (~torch.isnan(labels)).sum(dim=0)
        self.count, self.has_labels = count.clamp(min=1), count > 0
        # Steps change parameters in place, and the training still needs its own for the backward pass.
        self.network, self.stepper = copy.deepcopy((network, optimizer))
        self.parameters = list(self.network.parameters())
        self._values = copy.deepcopy(self.network.state_dict())
        self._state = copy.deepcopy(self.stepper.state_dict())
        with torch.random.fork_rng(devices=self._devices):
            self._seed = int(torch.randint(2**31, ()))
        with torch.enable_grad():
            losses = self.losses()
            self.gradients = [
                torch.autograd.grad(loss, self.parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
                for loss in losses
            ]
        self.before = losses.detach()
        self.network.load_state_dict(self._values)  # the forward pass may have changed buffers

    def losses(self) -> torch.Tensor:
        """Compute the mean losses (K,) of the copy as it is, with the same dropout every time."""
        with torch.random.fork_rng(devices=self._devices):
            torch.manual_seed(self._seed)
            losses = self.network.layout.losses(self.network(self.inputs), self.labels)
            return losses.sum(dim=0) / self.count

    @torch.no_grad()
    def after(self, gradients: Sequence[torch.Tensor], look: Callable[[], Look]) -> Look:
        """Take a step with gradients, return what a look at the copy sees, and take the step back.

        Args:
            gradients: one for each parameter; they may be clipped in place.
            look: is called after the step.
        """
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.stepper.step()
        seen = look()
        self.network.load_state_dict(self._values)
        self.stepper.load_state_dict(copy.deepcopy(self._state))  # it takes the tensors over, and steps change them
        return seen

    @property
    def _devices(self) -> list[torch.device]:
        return [self.inputs.device] if self.inputs.is_cuda else []
