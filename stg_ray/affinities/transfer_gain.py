"""Transfer gain (Wang et al., Principled Task Grouping, arXiv 2402.15328): what a task gains from another in its step.

S_ij = 1 - L_j(after a step on L_i + L_j) / L_j(after a step on L_j alone), trunk and heads stepped by the training's
own optimizer, which is then put back, averaged over a training run on all tasks. It is directed, and 0 of a task with
itself. A look takes K + K (K - 1) / 2 steps and as many forward passes, since a step on two tasks tells of both.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import nn

from stg_ray.affinities.tag import TagAffinity
from stg_ray.models import TaskNetwork
from stg_ray.training.compute import exact_float32
from stg_ray.training.trainer import Trainer


class TransferGain(TagAffinity):
    """The mean gains over a training run like tag's, looked at every `affinity.tag_every` steps."""

    about: ClassVar[str] = (
        "What the column's task gains if a training step is taken on the row's task, too: positive where its loss is "
        "lower than after a step of its own."
    )

    @staticmethod
    def effects(trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the gains (K, K) of the column's task from the row's, at a batch of the training."""
        optimization = trainer.optimization
        return gains_of_steps(trainer.network, optimization.optimizer, inputs, labels, optimization.clip)


@exact_float32()
def gains_of_steps(
    network: TaskNetwork,
    optimizer: torch.optim.Optimizer,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    clip: float | None = None,
) -> torch.Tensor:
    """Compute S (K, K) on one batch.

    Steps are taken by a copy: the network, the optimizer and torch's random state are left as they were.

    Args:
        network: of K tasks.
        optimizer: of the network's parameters.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        clip: largest norm of a step's gradient.

    Returns:
        (K, K) shares by which the column's loss is lower; NaN where a task has no label or a loss of 0.
    """
    n_tasks = labels.shape[1]
    count = (~torch.isnan(labels)).sum(dim=0)
    # What follows changes parameters in place, and the training still needs them for its backward pass.
    stepped, stepper = copy.deepcopy((network, optimizer))
    parameters = list(stepped.parameters())
    values, state = copy.deepcopy(stepped.state_dict()), copy.deepcopy(stepper.state_dict())
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        seed = int(torch.randint(2**31, ()))

        def losses() -> torch.Tensor:
            torch.manual_seed(seed)  # the same dropout before and after
            return stepped.layout.losses(stepped(inputs), labels).sum(dim=0) / count.clamp(min=1)

        with torch.enable_grad():
            gradients = [
                torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True, allow_unused=True)
                for loss in losses()
            ]

        @torch.no_grad()
        def after(*tasks: int) -> torch.Tensor:
            for parameter, *of_tasks in zip(parameters, *(gradients[t] for t in tasks), strict=True):
                parameter.grad = torch.stack(of_tasks).sum(dim=0)
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            stepper.step()
            found = losses()
            stepped.load_state_dict(values)
            stepper.load_state_dict(copy.deepcopy(state))  # it takes the tensors over, and steps change them
            return found

        stepped.load_state_dict(values)  # the forward pass may have changed buffers
        alone = torch.stack([after(t)[t] for t in range(n_tasks)])
        gains = inputs.new_zeros(n_tasks, n_tasks, dtype=alone.dtype)
        for i in range(n_tasks):
            for j in range(i):
                found = after(i, j)
                gains[i, j], gains[j, i] = 1 - found[j] / alone[j], 1 - found[i] / alone[i]
    defined = (count > 0) & (alone > 0)
    return torch.where(defined[:, None] & defined, gains, torch.nan)
