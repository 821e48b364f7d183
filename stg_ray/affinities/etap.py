"""ETAP (arXiv 2602.18591): what the optimizer's step on a task does to another's loss, to first order.

Z_ij = <grad L_j, u_i - u_0> / L_j, with u_i what the training's own optimizer would take from the shared parameters in
a step on L_i alone, u_0 what it would take in one without a gradient, by momentum and weight decay, and the gradient
with respect to them, averaged over a training run on all tasks. It is directed. The paper leaves u_0 in: it is the same
for all tasks, and tells nothing of who helps whom.

That is TAG's lookahead without the lookahead: a look takes one forward pass, and K backward passes and K steps of the
optimizer, instead of K forward passes more. Effects of several tasks' steps add, so those of a group are sums. The
paper goes on with a non-linear map of them, and a ridge regression of what is left, both of measured groups: that is
what the search's surrogate does, with any affinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from stg_ray.affinities.steps import CopiedSteps
from stg_ray.affinities.tag import TagAffinity
from stg_ray.models import TaskNetwork
from stg_ray.training.compute import exact_float32
from stg_ray.training.trainer import Trainer


class Etap(TagAffinity):
    """The mean effects over a training run like tag's, looked at every `affinity.tag_every` steps."""

    about: ClassVar[str] = (
        "What the optimizer's step on the row's task does to the loss of the column's, to first order: positive where "
        "it lowers it."
    )

    @staticmethod
    def effects(trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the effects (K, K) of steps on the row's task on the column's, at a batch of the training."""
        optimization = trainer.optimization
        return effects_of_updates(trainer.network, optimization.optimizer, inputs, labels, optimization.clip)


@exact_float32()
def effects_of_updates(
    network: TaskNetwork,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    clip: float | None = None,
) -> torch.Tensor:
    """Compute Z (K, K) on one batch.

    Steps are taken by a copy: the network, the optimizer and torch's random state are left as they were.

    Args:
        network: of K tasks; the effects are those through its trunk.
        optimizer: of the network's parameters.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        clip: largest norm of a step's gradient.

    Returns:
        (K, K) shares by which the column's loss falls; NaN where a task has no label or a loss of 0.
    """
    steps = CopiedSteps(network, optimizer, inputs, labels, clip)
    shared = list(steps.network.trunk.parameters())
    start = [parameter.detach().clone() for parameter in shared]
    number = {id(parameter): n for n, parameter in enumerate(steps.parameters)}
    pulls = torch.stack(
        [torch.cat([own[number[id(p)]].flatten() for p in shared]) for own in steps.gradients]
    )  # (K, P)

    def update(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """What a step with these gradients takes from the trunk's parameters (P,)."""
        own = [gradient.clone() for gradient in gradients]  # clipped in place
        return steps.after(own, lambda: torch.cat([(a - b).flatten() for a, b in zip(start, shared, strict=True)]))

    common = update([torch.zeros_like(parameter) for parameter in steps.parameters])
    effects = torch.stack([pulls @ (update(own) - common) for own in steps.gradients]) / steps.before
    defined = steps.has_labels & (steps.before > 0)
    return torch.where(defined[:, None] & defined, effects, torch.nan)
