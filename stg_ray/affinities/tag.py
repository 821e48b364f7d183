"""Task affinity grouping (Fifty et al., NeurIPS 2021, arXiv 2109.04617): what a step on one task does to the others.

Z_ij = 1 - L_j(theta after one step on L_i) / L_j(theta) on the same batch, theta the shared parameters and the heads
fixed, averaged over a training run on all tasks. It is directed, and costs about 1 + K steps wherever it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch.func import functional_call

from stg_ray.affinities.base import Estimator, Partial, task_names
from stg_ray.affinities.jackknife import FOLDS, Sums, jackknife
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.errors import StgRayError
from stg_ray.models import TaskNetwork
from stg_ray.seeds import Stream, generator, torch_seed
from stg_ray.tasks import Task
from stg_ray.training.compute import Compute
from stg_ray.training.epoch import Optimization, check_finite, epoch_batches, train_epoch


class TagAffinity(Estimator):
    """One unit: a training run of its own, with the profile's settings, that looks at the tasks every
    `affinity.tag_every` steps."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "What a training step on the row's task does to the loss of the column's: positive where it lowers it."
    )

    @classmethod
    def n_units(cls, source: Source) -> int:
        return 1

    def partial(self, number: int) -> Partial:
        """`total` and `count` (FOLDS, K, K) of the looks, dealt to folds in turn."""
        source, training = self.source, self.source.training
        parts = [source.part(p) for p in range(source.index.n_parts())]
        inputs = torch.from_numpy(np.concatenate([part.inputs for part in parts]))
        labels = torch.from_numpy(np.concatenate([part.labels for part in parts]))
        network, compute = source.untrained(), Compute.of(training, source.device)
        compute.place(network)
        n_steps = -(-len(inputs) // training.batch_size)
        optimization = Optimization(network, training, training.epochs * n_steps)
        n_tasks = len(source.index.tasks)
        sums = {key: np.zeros((FOLDS, n_tasks, n_tasks)) for key in ("total", "count")}
        step = looks = 0

        def look(rows: np.ndarray, outputs: torch.Tensor, target: torch.Tensor) -> None:
            nonlocal step, looks
            step += 1
            if (step - 1) % source.settings.tag_every:
                return
            lr = float(optimization.optimizer.param_groups[0]["lr"])
            effects = effects_of_steps(network, inputs[rows].to(source.device), target, lr).cpu().numpy()
            sums["count"][looks % FOLDS] += ~np.isnan(effects)
            sums["total"][looks % FOLDS] += np.nan_to_num(effects)
            looks += 1

        for epoch in range(1, training.epochs + 1):
            torch.manual_seed(torch_seed(source.seed, epoch))
            batches = epoch_batches(len(inputs), n_steps, generator(Stream.TAG_BATCHES, source.seed, epoch))
            divisors = [len(rows) * source.index.labels_per_sample for rows in batches]
            totals = train_epoch(
                network,
                network.layout,
                optimization,
                inputs,
                labels,
                batches,
                divisors=divisors,
                compute=compute,
                record=look,
            )
            check_finite(totals, source.index.names, epoch)
        if not looks:
            raise StgRayError("tag looked at no step: lower affinity.tag_every")
        return {**sums, "samples": np.array(len(inputs))}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        (partial,) = partials
        folds = [{key: partial[key][f] for key in ("total", "count")} for f in range(FOLDS)]

        def mean(sums: Sums) -> np.ndarray:
            with np.errstate(invalid="ignore"):
                return np.where(sums["count"] > 0, sums["total"] / np.maximum(sums["count"], 1), np.nan)

        affinity, error = jackknife(folds, mean)
        return TaskMatrix(task_names(tasks), affinity, cls.kind, samples=int(partial["samples"]), errors=error)


def effects_of_steps(network: TaskNetwork, inputs: torch.Tensor, labels: torch.Tensor, lr: float) -> torch.Tensor:
    """Z (K, K) on one batch: row i is a step of learning rate `lr` on task i's mean loss; NaN where a task has no label
    or no loss. The network, its buffers and torch's random state are left as they were.

    Args:
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
    """
    trunk = network.trunk
    buffers = dict(trunk.named_buffers())
    parameters = {name: p.detach().requires_grad_() for name, p in trunk.named_parameters()}
    x = network.normalize(inputs).detach()
    count = (~torch.isnan(labels)).sum(dim=0)
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        state = torch.get_rng_state()

        def losses(values: dict[str, torch.Tensor]) -> torch.Tensor:
            torch.set_rng_state(state)  # the same dropout before and after
            own = {**values, **{name: b.clone() for name, b in buffers.items()}}
            outputs = network.heads(functional_call(trunk, own, (x,)))
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
