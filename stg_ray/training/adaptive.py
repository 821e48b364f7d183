"""Weights of auxiliary tasks that follow the gradients: one counts as long as it pulls where the main task does.

Before every epoch but the first, an auxiliary's weight moves by the cosine of two gradients with respect to the trunk:
that of its own loss on training rows, and that of the main task's loss on validation rows. So it grows while a step on
the auxiliary lowers the main task's loss on rows that are not learned, and shrinks, down to zero, while it raises it.

OL-AUX (Lin et al., NeurIPS 2019, Adaptive auxiliary task weighting, section 4) moves weights by the inner product of
both gradients on the same batches. What is ours: cosines, which need no scale; validation rows for the main task, since
a few training labels are soon learned by heart, and their gradient is noise then; a look per epoch at many rows, since
a batch has hardly any of the few labels; and bounds, zero and the weight that the training begins with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stg_ray.models.outputs import as_labels
from stg_ray.seeds import Stream, generator

if TYPE_CHECKING:
    from stg_ray.training.evaluation import Inputs
    from stg_ray.training.trainer import Trainer

MOST_ROWS = 512
"""Rows on which the gradient of a task is taken."""
RATE = 1.0
"""Change of a weight in an epoch, as a share of the largest, at a cosine of 1."""


class AdaptiveWeights:
    """The weights of the tasks' losses in a training that is for the main task.

    Args:
        weights: (K,) largest weights, with which the training begins; the main task keeps its own.
        main: number of the main task.
        inputs: (n, ...) raw inputs of validation rows.
        labels: (n, K) of them, as stored: -1 or NaN where missing.
    """

    def __init__(self, weights: Sequence[float], main: int, inputs: Inputs, labels: np.ndarray) -> None:
        self.largest, self.main = torch.tensor(weights, dtype=torch.float64), main
        self.inputs, self.labels = inputs, torch.from_numpy(labels)
        self.shares = torch.ones_like(self.largest)
        """(K,) of the largest weights, as they are now."""

    def of_epoch(self, trainer: Trainer, number: int) -> torch.Tensor:
        """Return the (K,) weights of an epoch, from 1, by the network as it is before it.

        Every rank of a training sees the same rows here, and returns the same.
        """
        if number > 1:  # before that the heads are random, and so is where they pull the trunk
            wanted = self._gradient(trainer, number, self.main, self.inputs, self.labels)
            own = [
                self._gradient(trainer, number, task, trainer.rows.inputs, trainer.rows.labels)
                for task in range(len(self.shares))
            ]
            cosines = torch.stack([cosine(gradient, wanted) for gradient in own])
            self.shares = moved(self.shares, cosines, self.main)
        return (self.largest * self.shares).float()

    def state_dict(self) -> dict[str, Any]:
        """Return the weights as they are, from which a later process can go on."""
        return {"shares": self.shares}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.shares = state["shares"]

    def _gradient(self, trainer: Trainer, number: int, task: int, inputs: Inputs, labels: torch.Tensor) -> torch.Tensor:
        """The (P,) gradient of a task's loss with respect to the trunk, a sum over rows; 0 where none has a label."""
        network, compute = trainer.network, trainer.compute
        labelled = torch.nonzero(~torch.isnan(as_labels(labels[:, task]))).flatten().numpy()
        rng = generator(Stream.GRADIENT_ROWS, trainer.batches.draws.seed, number, task)
        rows = np.sort(rng.choice(labelled, min(MOST_ROWS, len(labelled)), replace=False))
        shared = [parameter for parameter in network.trunk.parameters() if parameter.requires_grad]
        total = torch.zeros(sum(parameter.numel() for parameter in shared), dtype=torch.float64)
        network.eval()
        for start in range(0, len(rows), trainer.settings.batch_size):
            block = torch.from_numpy(rows[start : start + trainer.settings.batch_size])
            outputs = compute.forward(network, compute.batch(inputs[block]))
            loss = network.layout.losses(outputs, as_labels(compute.batch(labels[block])))[:, task].sum()
            gradients = torch.autograd.grad(loss, shared, allow_unused=True, materialize_grads=True)
            total += torch.cat([gradient.flatten() for gradient in gradients]).double().cpu()
        return total


def moved(shares: torch.Tensor, cosines: torch.Tensor, main: int) -> torch.Tensor:
    """Return the shares (K,) of the largest weights, 0 to 1, after a look at cosines (K,); the main task's is 1."""
    after = (shares + RATE * cosines).clamp(0, 1)
    after[main] = 1.0
    return after


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the cosine of two vectors (P,); 0 where one of them is zero."""
    norms = one.norm() * other.norm()
    return one @ other / norms if norms > 0 else torch.zeros((), dtype=one.dtype)
