"""Task affinity grouping (TAG; Fifty et al., NeurIPS 2021, arXiv 2109.04617): how a step on a task changes others.

Z_ij = 1 - L_j(theta after one step on L_i) / L_j(theta) on the same batch, theta the shared parameters and the heads
fixed, averaged over a training run on all tasks. It is directed; a look at it costs about 1 + K training steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.func import functional_call

from stg_ray.affinities.base import Estimator, Partial, task_names
from stg_ray.affinities.jackknife import Sums, jackknife
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import concatenated
from stg_ray.data.rows import as_inputs
from stg_ray.errors import StgRayError
from stg_ray.models import TaskNetwork
from stg_ray.seeds import Stream
from stg_ray.tasks import Task
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.compute import exact_float32
from stg_ray.training.length import Length, without_validation
from stg_ray.training.looks import Looks
from stg_ray.training.trainer import Rows, Trainer, check_finite


class TagAffinity(Estimator):
    """TAG by a training run on all tasks, with the profile's settings, that looks at them every `affinity.tag_every`
    steps. The run is one unit; its inputs are not augmented. It looks at no validation rows: `profile.epochs: auto` is
    four times `profile.min_steps`."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "What a training step on the row's task does to the loss of the column's: positive where it lowers it."
    )

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return 1: the training run cannot be divided."""
        del source
        return 1

    def partial(self, number: int) -> Partial:
        """Train, and return `total` and `count` (F, K, K) of the looks, dealt to F folds in turn.

        Raises:
            StgRayError: a loss became non-finite, or the training ended before the first look.
        """
        del number  # there is one unit
        trainer = self._trainer()
        looks = Looks(trainer, self.source.settings.tag_every, self.effects)
        for epoch in range(1, Length.of(trainer.settings, trainer.batches.n_steps).most + 1):
            totals = trainer.epoch(epoch, record=looks.record)
            check_finite(totals, self.source.index.names, epoch)
        if not looks.n_steps:
            raise StgRayError("the training ended before the first look: lower affinity.tag_every")
        return {**looks.sums, "samples": np.array(len(trainer.rows.samples))}

    @staticmethod
    def effects(trainer: Trainer, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the effects (K, K) of steps on the row's task on the column's, at a batch of the training."""
        return effects_of_steps(trainer.network, inputs, labels, trainer.optimization.learning_rate)

    def _trainer(self) -> Trainer:
        """An untrained network of all tasks, on all training rows."""
        source = self.source
        whole = concatenated([source.part(number) for number in range(source.index.n_parts())])
        batches = CommonBatches(
            len(whole),
            source.training.batch_size,
            source.index.labels_per_sample,
            Draws(source.seed, Stream.TAG_BATCHES),
        )
        rows = Rows(as_inputs(whole.inputs), torch.from_numpy(whole.labels), whole.samples)
        settings = without_validation(source.training, batches.n_steps)
        return Trainer(source.untrained(), rows, batches, settings, device=source.device)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Average the looks; the standard errors (K, K) are those of a jackknife over their folds."""
        (partial,) = partials
        folds = [{key: partial[key][f] for key in ("total", "count")} for f in range(len(partial["count"]))]

        def mean(sums: Sums) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.where(sums["count"] > 0, sums["total"] / np.maximum(sums["count"], 1), np.nan)

        affinity, error = jackknife(folds, mean)
        return TaskMatrix(task_names(tasks), affinity, cls.kind, samples=int(partial["samples"]), errors=error)


@exact_float32()
def effects_of_steps(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor, lr: float) -> torch.Tensor:
    """Compute Z (K, K) on one batch: row i is a step of learning rate `lr` on task i's mean loss.

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
