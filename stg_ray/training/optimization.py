"""The optimizer of a training run, its learning rate from step to step, and gradient clipping."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stg_ray.config.recipes import as_number

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig


def _without_compiler(optimizer: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """Return an optimizer whose methods are not wrapped for `torch.compile`.

    No step of an optimizer is compiled here, and the wrappers import torch's compiler: a second of every process.
    """
    bare = {name: inspect.unwrap(getattr(optimizer, name)) for name in WRAPPED}
    return type(optimizer.__name__, (optimizer,), bare | {"step": torch.no_grad()(bare["step"])})


WRAPPED = ("step", "zero_grad", "add_param_group", "state_dict", "load_state_dict")
"""Methods of torch's optimizers that are wrapped for its compiler."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(_without_compiler(torch.optim.AdamW), fused=True),
    "adam": partial(_without_compiler(torch.optim.Adam), fused=True),
    "nadam": partial(_without_compiler(torch.optim.NAdam), foreach=True),
    "sgd": partial(_without_compiler(torch.optim.SGD), momentum=0.9, nesterov=True, fused=True),
}
"""Optimizers by the names that the configuration gives them, called with parameters, `lr` and `weight_decay`."""


class Optimization:
    """An optimizer with the learning-rate schedule and the gradient clipping of one training run.

    Args:
        model: the module whose parameters are trained; it must be on its device already.
        config: optimizer, learning rate, weight decay, schedule, warm-up and clipping.
        n_steps: steps of the whole run, over which the learning rate rises and falls. None where they are not known:
            it rises over `warmup` of the least number of steps, then it is constant until `lower` is called.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, n_steps: int | None) -> None:
        self.parameters = list(model.parameters())
        self.clip = config.clip
        self.optimizer = OPTIMIZERS[config.optimizer](
            self.parameters, lr=as_number(config.lr), weight_decay=as_number(config.weight_decay)
        )
        schedule = config.schedule if n_steps is not None else "constant"
        factor = partial(lr_factor, n_steps=n_steps or config.min_steps, warmup=config.warmup, schedule=schedule)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, loss: torch.Tensor) -> None:
        """Take one step down the gradient of the scalar `loss`, and move on in the schedule."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self._follow()

    def follow(self, gradients: Iterable[torch.Tensor]) -> None:
        """Take one step down gradients that were computed elsewhere, one for each parameter, as `step` does."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self._follow()

    def _follow(self) -> None:
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()

    def lower(self, share: float) -> None:
        """Multiply the learning rate of all further steps by `share`."""
        self.schedule.base_lrs = [share * lr for lr in self.schedule.base_lrs]
        for group in self.optimizer.param_groups:
            group["lr"] *= share

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and of the schedule, from which a later process can go on."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def lr_factor(step: int, *, n_steps: int, warmup: float, schedule: str) -> float:
    """Return the factor of the learning rate at a step, counted from 0.

    It rises linearly over the share `warmup` of the steps; then it is constant, or falls to zero along half a cosine
    (Loshchilov and Hutter, ICLR 2017).
    """
    n_warm = warmup * n_steps
    if step < n_warm:
        return min(1.0, (step + 1) / n_warm)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - n_warm) / max(1.0, n_steps - n_warm))))
