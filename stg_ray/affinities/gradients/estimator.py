"""The base of estimators that compare gradients: the engine, the chosen rows, and smaller batches on demand."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeVar

import numpy as np
import psutil
import torch

from stg_ray.affinities.base import Estimator, Need
from stg_ray.affinities.gradients.capture import is_out_of_memory
from stg_ray.affinities.gradients.per_sample import MEMORY, MEMORY_ON_GPU, SampleGradients
from stg_ray.affinities.gradients.samples import chosen_rows, parts_looked_at
from stg_ray.affinities.source import Source
from stg_ray.data.parts import Part
from stg_ray.errors import StgRayError
from stg_ray.models.outputs import as_labels

Result = TypeVar("Result")

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class GradientEstimator(Estimator):
    """An affinity by the gradients of the tasks' losses at one network, for the parameters of `affinity.layers`.

    Attributes:
        settings: the `affinity` section.
        gradients: the engine, at the source's network.
        n_parts: number of training parts whose rows are compared.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"network", "trained_heads"})

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.settings = source.settings
        self.n_parts = parts_looked_at(source.settings, source.index)
        self._chosen: dict[int, np.ndarray | None] = {}
        self.gradients = SampleGradients(
            source.network(),
            self.settings.layers,
            torch.tensor(source.part(0).inputs[:2]).to(source.device),
            dtype=PRECISIONS[self.settings.precision],
            memory=_memory(source.device),
        )

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of parts whose rows are compared, if these are the units."""
        return parts_looked_at(source.settings, source.index) if cls.units_are_parts else 1

    def micro_batches(self, part: Part, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield raw inputs (rows, ...) and labels (rows, K), floating point, on the device; the last may have fewer."""
        for start in range(0, len(part), rows):
            batch = slice(start, start + rows)
            labels = as_labels(torch.tensor(part.labels[batch]))
            yield torch.tensor(part.inputs[batch]).to(self.source.device), labels.to(self.source.device)

    def chosen(self, number: int) -> Part:
        """Return the rows of a part whose gradients are compared."""
        part = self.source.part(number)
        if number not in self._chosen:
            self._chosen[number] = chosen_rows(self.source, part, number)
        rows = self._chosen[number]
        return part if rows is None else Part(part.samples[rows], part.inputs[rows], part.labels[rows])

    def within_memory(self, compute: Callable[[SampleGradients], Result]) -> Result:
        """Compute with the micro-batches that there is memory for: they are halved each time it runs out.

        Raises:
            StgRayError: there is not enough for one sample.
        """
        while True:
            try:
                with torch.no_grad():
                    return compute(self.gradients)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                rows = self.gradients.rows
            gc.collect()
            if self.source.device.type == "cuda":
                torch.cuda.empty_cache()
            if rows == 1:
                raise StgRayError(
                    "there is not enough memory for the gradients of one sample: choose fewer layers "
                    "(affinity.layers=last), or run fewer actors on a node"
                )
            self.gradients = self.gradients.halved()


def _memory(device: torch.device) -> int:
    """Return the bytes for a micro-batch: `MEMORY`, halved until an actor on every CPU finds twice as much.

    On a GPU it is a share of all its memory, so that it does not depend on what others have of it at the moment.
    """
    if device.type == "cuda":
        memory, available = MEMORY_ON_GPU, torch.cuda.mem_get_info(device)[1] // 8
    else:
        memory, available = MEMORY, psutil.virtual_memory().available // (psutil.cpu_count() or 1)
    while memory > 2**20 and 2 * memory > available:
        memory //= 2
    return memory
