"""The training of one network: the profile, the groups' networks, TAG and the timing all train by this object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stg_ray.errors import StgRayError
from stg_ray.models.network import TaskNetwork
from stg_ray.models.outputs import as_labels
from stg_ray.seeds import torch_seed
from stg_ray.training.augmentation import Augmentation
from stg_ray.training.batches import Batches
from stg_ray.training.compute import CPU, Compute
from stg_ray.training.evaluation import Inputs, evaluate, taken
from stg_ray.training.optimization import Optimization

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig
    from stg_ray.training.adaptive import AdaptiveWeights

Record = Callable[[np.ndarray, torch.Tensor, torch.Tensor], None]
"""Called with (rows, outputs before the step, labels) of every batch: (b,), (b, O) and (b, K)."""


RATES = "the learning rate (lr)"
"""What is lowered where a loss becomes non-finite."""


@dataclass(frozen=True)
class Rows:
    """The rows that one process trains on.

    Attributes:
        inputs: (n, ...) raw inputs, in memory or mapped.
        labels: (n, K) labels as stored: -1 or NaN where missing.
        samples: (n,) sample numbers in the task set; the draws of the augmentation belong to them.
    """

    inputs: Inputs
    labels: torch.Tensor
    samples: np.ndarray


class Trainer:
    """A network in training: its optimizer, its batches, and where and how it is computed.

    What an epoch draws at random (batches, augmentation, dropout) depends on the seed and the epoch's number alone, so
    a training that goes on from `state_dict` ends like an undisturbed one.

    Args:
        network: moved to the device; other ranks must have an equal one.
        rows: of this process, indexed by the batches.
        batches: the steps of an epoch, as this rank takes them.
        settings: how the network is trained; `settings.epochs` is the number of epochs of the learning-rate schedule,
            or auto for one whose length is not known.
        device: where it is trained.
        task_weights: (K,) factors of the tasks' losses in the objective, or what gives them before every epoch; all 1
            if not given.

    Attributes:
        total_steps: of the learning-rate schedule; None where its length is not known.

    Raises:
        InputError: the settings ask for an augmentation that the inputs do not allow.
    """

    def __init__(
        self,
        network: TaskNetwork,
        rows: Rows,
        batches: Batches,
        settings: TrainingConfig,
        *,
        device: torch.device | str = CPU,
        task_weights: Sequence[float] | AdaptiveWeights | None = None,
    ) -> None:
        self.network, self.rows, self.batches, self.settings = network, rows, batches, settings
        self.compute = Compute.of(settings, device)
        self.compute.place(network)
        self.model = self.compute.compiled(batches.ranks.wrap(network))
        self.total_steps = None if settings.epochs == "auto" else settings.epochs * batches.n_steps
        self.optimization = Optimization(network, settings, self.total_steps)
        self.augment: Augmentation | None = None
        if batches.draws.augmentation is not None:
            self.augment = Augmentation.of(settings, tuple(rows.inputs[:1].shape[1:]), rows.samples)
        self.task_weights: torch.Tensor | None = None
        self.adaptive: AdaptiveWeights | None = None
        if isinstance(task_weights, Sequence):
            self.task_weights = torch.tensor(task_weights, dtype=torch.float32, device=self.compute.device)
        else:
            self.adaptive = task_weights

    def epoch(self, number: int, record: Record | None = None) -> torch.Tensor:
        """Train for one epoch; the loss of a step is the sum of its labels' losses over the step's divisor.

        Args:
            number: of the epoch, from 1.
            record: called with (rows, outputs before the step, labels) of every batch.

        Returns:
            (K,) float64 sums of the tasks' losses over this rank's rows, unweighted, as they were before each step.
        """
        draws = self.batches.draws
        if self.adaptive is not None:
            self.task_weights = self.adaptive.of_epoch(self, number).to(self.compute.device)
        torch.manual_seed(torch_seed(draws.seed, number, self.batches.ranks.rank))
        if self.augment is not None and draws.augmentation is not None:
            self.augment.draw(draws.augmentation, draws.seed, number)
        layout = self.network.layout
        self.model.train()
        totals = torch.zeros(len(layout.tasks), dtype=torch.float64, device=self.compute.device)
        for rows, divisor in self.batches.of_epoch(number):
            outputs, target = self._forward(torch.from_numpy(rows))
            losses = layout.losses(outputs, target, self.settings.label_smoothing)
            with torch.no_grad():
                totals += losses.sum(dim=0, dtype=torch.float64)
                if record is not None:
                    record(rows, outputs.detach(), target)
            if self.task_weights is not None:
                losses = losses * self.task_weights
            self.optimization.step(losses.sum() / divisor)
        return totals

    def _forward(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs (b, O) and labels (b, K) of some rows, on the device; the inputs with this epoch's augmentation."""
        target = as_labels(self.compute.batch(self.rows.labels.index_select(0, index)))
        batch = self.compute.batch(taken(self.rows.inputs, index))
        if self.augment is not None:
            batch = self.augment(batch, index)
        return self.compute.forward(self.model, batch), target

    def evaluate(self, inputs: Inputs) -> torch.Tensor:
        """Return the network's outputs (N, O) as it is now, on the CPU, computed as in training."""
        return evaluate(self.network, inputs, compute=self.compute)

    def state_dict(self) -> dict[str, Any]:
        """Return the state from which a later process can go on with the next epoch."""
        adaptive = {} if self.adaptive is None else {"adaptive": self.adaptive.state_dict()}
        weights = {key: value.clone() for key, value in self.network.state_dict().items()}  # may be views of a stack
        return {"network": weights, "optimization": self.optimization.state_dict(), **adaptive}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` returned; other keys of the mapping are left alone."""
        self.network.load_state_dict(state["network"])
        self.optimization.load_state_dict(state["optimization"])
        if self.adaptive is not None:
            self.adaptive.load_state_dict(state["adaptive"])


def check_finite(totals: torch.Tensor, names: Sequence[str], epoch: int, rates: str = RATES) -> None:
    """Refuse losses (K,) that are NaN or infinite.

    Args:
        rates: what is to be lowered, in words.

    Raises:
        StgRayError: a loss is not finite; the message names its task.
    """
    message = non_finite(totals, names, epoch, rates)
    if message:
        raise StgRayError(message)


def non_finite(totals: torch.Tensor, names: Sequence[str], epoch: int, rates: str = RATES) -> str | None:
    """Return the message that names the first of the tasks' losses (K,) that is NaN or infinite, if one is."""
    bad = torch.nonzero(~torch.isfinite(totals)).flatten().tolist()
    if not bad:
        return None
    return (
        f"the loss of task {names[bad[0]]!r} became non-finite in epoch {epoch}"
        + (f" (and that of {len(bad) - 1} more tasks)" if len(bad) > 1 else "")
        + f": lower {rates}, or look at this task's labels and inputs"
    )
