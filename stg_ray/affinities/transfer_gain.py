"""Transfer gain (Wang et al., Principled Task Grouping, arXiv 2402.15328): what a task gains from another in its step.

S_ij = 1 - L_j(after a step on L_i + L_j) / L_j(after a step on L_j alone), trunk and heads stepped by the training's
own optimizer, which is then put back, averaged over a training run on all tasks. It is directed, and 0 of a task with
itself. A look takes K + K (K - 1) / 2 steps and as many forward passes, since a step on two tasks tells of both.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from stg_ray.affinities.tag import TagAffinity
from stg_ray.models import TaskNetwork
from stg_ray.training.compute import exact_float32
from stg_ray.training.steps import CopiedSteps
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
    steps = CopiedSteps(network, optimizer, inputs, labels, clip)

    def after(*tasks: int) -> torch.Tensor:
        own = [torch.stack(of_tasks).sum(dim=0) for of_tasks in zip(*(steps.gradients[t] for t in tasks), strict=True)]
        return steps.after(own, steps.losses)

    n_tasks = labels.shape[1]
    alone = torch.stack([after(t)[t] for t in range(n_tasks)])
    gains = inputs.new_zeros(n_tasks, n_tasks, dtype=alone.dtype)
    for i in range(n_tasks):
        for j in range(i):
            found = after(i, j)
            gains[i, j], gains[j, i] = 1 - found[j] / alone[j], 1 - found[i] / alone[i]
    defined = steps.has_labels & (alone > 0)
    return torch.where(defined[:, None] & defined, gains, torch.nan)
