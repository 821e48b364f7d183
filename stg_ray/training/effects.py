"""Effects of the tasks' steps on each other at a batch of a training: what tag, etap and transfer_gain look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.func import functional_call

from stg_ray.models import TaskNetwork
from stg_ray.training.compute import exact_float32
from stg_ray.training.steps import CopiedSteps
from stg_ray.training.trainer import Trainer


@exact_float32()
def effects_of(method: str, trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute the effects (K, K) of the row's task on the column's, at a batch of a training that stays as it is.

    Args:
        method: tag, etap or transfer_gain.
        trainer: of K tasks.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
    """
    network, optimization = trainer.network, trainer.optimization
    if method == "tag":
        return effects_of_steps(network, inputs, labels, optimization.learning_rate)
    by_optimizer = {"etap": effects_of_updates, "transfer_gain": gains_of_steps}[method]
    return by_optimizer(CopiedSteps(network, optimization.optimizer, inputs, labels, optimization.clip))


@exact_float32()
def effects_of_steps(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor, lr: float) -> torch.Tensor:
    """Compute tag's Z (K, K) on one batch (see `affinities/tag.py`): row i is a step on task i's mean loss.

    The network, its buffers and torch's random state are left as they were.

    Args:
        network: of K tasks; its trunk's parameters take the steps.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        lr: learning rate of the steps.

    Returns:
        (K, K) relative decrease of the column's loss; NaN where a task has no label or a loss of 0.
    """
    trunk = network.trunk
    buffers = dict(trunk.named_buffers())
    parameters = {name: p.detach().requires_grad_() for name, p in trunk.named_parameters()}
    x = network.normalize(inputs).detach()
    count = (~torch.isnan(labels)).sum(dim=0)
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        state = torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state(inputs.device) if inputs.is_cuda else None

        def losses(values: dict[str, torch.Tensor]) -> torch.Tensor:
            torch.set_rng_state(state)  # the same dropout before and after
            if on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu, inputs.device)
            state_of_trunk = {**values, **{name: b.clone() for name, b in buffers.items()}}
            outputs = network.heads(functional_call(trunk, state_of_trunk, (x,)))
            return network.layout.losses(outputs, labels).sum(dim=0) / count.clamp(min=1)

        with torch.enable_grad():
            by_task = losses(parameters).unbind()
        before = torch.stack(by_task)
        effects = []
        for loss in by_task:
            gradients = torch.autograd.grad(
                loss, list(parameters.values()), retain_graph=True, materialize_grads=True, allow_unused=True
            )
            with torch.no_grad():
                pairs = zip(parameters.items(), gradients, strict=True)
                effects.append(1 - losses({name: p - lr * g for (name, p), g in pairs}) / before)
    defined = (count > 0) & (before > 0)
    return torch.where(defined[:, None] & defined, torch.stack(effects), torch.nan).detach()


def effects_of_updates(steps: CopiedSteps) -> torch.Tensor:
    """Compute etap's Z (K, K) on one batch, through the trunk (see `affinities/etap.py`).

    Args:
        steps: of K tasks on a batch.

    Returns:
        (K, K) shares by which the column's loss falls; NaN where a task has no label or a loss of 0.
    """
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


def gains_of_steps(steps: CopiedSteps) -> torch.Tensor:
    """Compute transfer_gain's S (K, K) on one batch (see `affinities/transfer_gain.py`).

    Args:
        steps: of K tasks on a batch.

    Returns:
        (K, K) shares by which the column's loss is lower; NaN where a task has no label or a loss of 0.
    """

    def after(*tasks: int) -> torch.Tensor:
        own = [torch.stack(of_tasks).sum(dim=0) for of_tasks in zip(*(steps.gradients[t] for t in tasks), strict=True)]
        return steps.after(own, steps.losses)

    n_tasks = len(steps.gradients)
    alone = torch.stack([after(t)[t] for t in range(n_tasks)])
    gains = alone.new_zeros(n_tasks, n_tasks)
    for i in range(n_tasks):
        for j in range(i):
            found = after(i, j)
            gains[i, j], gains[j, i] = 1 - found[j] / alone[j], 1 - found[i] / alone[i]
    defined = steps.has_labels & (alone > 0)
    return torch.where(defined[:, None] & defined, gains, torch.nan)
