"""Task affinity grouping (TAG; Fifty et al., NeurIPS 2021, arXiv 2109.04617): how a step on a task changes others.

Z_ij = 1 - L_j(theta after one step on L_i) / L_j(theta) on the same batch, theta the shared parameters and the heads
fixed, averaged over a training run on all tasks (see `training/effects.py`). It is directed; a look at it costs about
1 + K training steps.

One training has no standard error: its looks share its trajectory and its samples, and errors from their scatter were
half of what other trainings, and other samples, differed by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Estimator, Partial, without_errors
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import concatenated
from stg_ray.data.rows import as_inputs
from stg_ray.errors import StgRayError
from stg_ray.seeds import Stream
from stg_ray.tasks import Task
from stg_ray.training.batches import CommonBatches, Draws
from stg_ray.training.length import Length, without_validation
from stg_ray.training.looks import Looks
from stg_ray.training.trainer import Rows, Trainer, check_finite


class TagAffinity(Estimator):
    """TAG over the profile, where `profile.looks` had it look; else by a training run on all tasks, with the profile's
    settings, that looks at them every `affinity.tag_every` steps. That run is one unit, with neither augmentation nor
    validation rows: `profile.epochs: auto` is four times `profile.min_steps`."""

    method: ClassVar[str] = "tag"
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
        """Return `total` and `count` (K, K) of the looks that the profile took, or train.

        Raises:
            StgRayError: a loss became non-finite, or the training ended before the first look.
        """
        del number  # there is one unit
        if (of_profile := self.source.looks(self.method)) is not None:
            return of_profile
        trainer = self._trainer()
        looks = Looks(trainer, self.source.settings.tag_every, self.method)
        for epoch in range(1, Length.of(trainer.settings, trainer.batches.n_steps).most + 1):
            totals = trainer.epoch(epoch, record=looks.record)
            check_finite(totals, self.source.index.names, epoch)
        if not looks.n_steps:
            raise StgRayError("the training ended before the first look: lower affinity.tag_every")
        return {**looks.sums, "samples": np.array(len(trainer.rows.samples))}

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
        """Average the looks; they have no standard errors (NaN)."""
        (partial,) = partials
        with np.errstate(invalid="ignore", divide="ignore"):
            values = partial["total"] / partial["count"]
        return without_errors(values, tasks, cls.kind, int(partial["samples"]))
