"""One epoch of training, for the profiling run and for the groups' networks alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import nn

from stg_ray.errors import StgRayError
from stg_ray.models.outputs import OutputLayout, as_labels
from stg_ray.training.augmentation import Augmentation
from stg_ray.training.compute import PLAIN, Compute

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig


class Inputs(Protocol):
    """A tensor of inputs (N, ...), or what is used like one without being in memory at once."""

    def __getitem__(self, index: Any, /) -> torch.Tensor: ...

    def split(self, size: int, /) -> Iterable[torch.Tensor]: ...


Record = Callable[[np.ndarray, torch.Tensor, torch.Tensor], None]


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "nadam": partial(torch.optim.NAdam, foreach=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


class Optimization:
    """The optimiser of one training run, its learning rate from step to step, and gradient clipping.

    Args:
        model: whose parameters are trained.
        n_steps: steps of the whole run, over which the learning rate goes up and down.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig, n_steps: int) -> None:
        self.parameters = list(model.parameters())
        self.clip = config.clip
        self.optimizer = OPTIMIZERS[config.optimizer](self.parameters, lr=config.lr, weight_decay=config.weight_decay)
        factor = partial(lr_factor, n_steps=n_steps, warmup=config.warmup, schedule=config.schedule)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def step(self, loss: torch.Tensor) -> None:
        """One step down the gradient of `loss`."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def lr_factor(step: int, *, n_steps: int, warmup: float, schedule: str) -> float:
    """What the learning rate is multiplied by at a step (from 0): up linearly over the share `warmup` of the steps,
    then constant, or down to zero by half a cosine (Loshchilov and Hutter 2017)."""
    n_warm = warmup * n_steps
    if step < n_warm:
        return min(1.0, (step + 1) / n_warm)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - n_warm) / max(1.0, n_steps - n_warm))))


def epoch_batches(n_rows: int, n_steps: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows 0..n_rows-1, each exactly once, in random order, cut into `n_steps` batches equal to one row."""
    return np.array_split(rng.permutation(n_rows), n_steps)


def train_epoch(
    model: nn.Module,
    layout: OutputLayout,
    optimization: Optimization,
    inputs: Inputs,
    labels: torch.Tensor,
    batches: Sequence[np.ndarray],
    *,
    divisors: Sequence[float],
    task_weights: torch.Tensor | None = None,
    compute: Compute = PLAIN,
    augment: Augmentation | None = None,
    record: Record | None = None,
) -> torch.Tensor:
    """Train on the given batches; the loss of batch b is the sum of its labels' losses divided by divisors[b].

    Args:
        inputs, labels: tensors of all rows (labels as stored: -1 or NaN for missing), indexed by the batches.
        task_weights: (K,) multiply the tasks' losses in what is minimised; all 1 if not given.
        compute: where and in which precision.
        augment: changes the inputs of every batch, with the draws of this epoch.
        record: called with (rows, outputs before the step, labels) of every batch.

    Returns:
        (K,) float64 sums of the tasks' losses over the rows, unweighted, as they were before each step.
    """
    model.train()
    totals = torch.zeros(len(layout.tasks), dtype=torch.float64, device=compute.device)
    for rows, divisor in zip(batches, divisors, strict=True):
        index = torch.from_numpy(rows)
        target = as_labels(compute.batch(labels[index]))
        batch = compute.batch(inputs[index])
        outputs = compute.forward(model, batch if augment is None else augment(batch, index))
        losses = layout.losses(outputs, target)
        with torch.no_grad():
            totals += losses.sum(dim=0, dtype=torch.float64)
            if record is not None:
                record(rows, outputs.detach(), target)
        if task_weights is not None:
            losses = losses * task_weights
        optimization.step(losses.sum() / divisor)
    return totals


@torch.no_grad()
def evaluate(model: nn.Module, inputs: Inputs, *, compute: Compute = PLAIN, batch_size: int = 1024) -> torch.Tensor:
    """Outputs (N, O) on the CPU, in evaluation mode."""
    model.eval()
    return torch.cat([compute.forward(model, compute.batch(block)).cpu() for block in inputs.split(batch_size)])


def check_finite(totals: torch.Tensor, names: Sequence[str], epoch: int) -> None:
    """Raise with the first task's name if a task's loss is NaN or infinite."""
    message = non_finite(totals, names, epoch)
    if message:
        raise StgRayError(message)


def non_finite(totals: torch.Tensor, names: Sequence[str], epoch: int) -> str | None:
    bad = torch.nonzero(~torch.isfinite(totals)).flatten().tolist()
    if not bad:
        return None
    return (
        f"the loss of task {names[bad[0]]!r} became non-finite in epoch {epoch}"
        + (f" (and that of {len(bad) - 1} more tasks)" if len(bad) > 1 else "")
        + ": lower the learning rate (lr), or look at this task's labels and inputs"
    )
