"""Sample-wise loss-landscape distance of tasks (Thakur et al., arXiv 2412.04413), aligned on common samples.

d(a, b) = mean over samples labelled for both of |g_ia - g_ib|_1, the gradients taken at one network, by default the
profiled one, and for its last layer with a weight matrix. No training is needed beyond the profile. At a random
initialisation tasks against the rest differ by their labels only, and this says little: use the sign there.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, TypeVar

import numpy as np
import psutil
import torch

from stg_ray.affinities.aligned import CoordinateSample, aligned_l1, squared_form
from stg_ray.affinities.base import Estimator, Partial, ratio_of_sums
from stg_ray.affinities.gradients.capture import is_out_of_memory
from stg_ray.affinities.gradients.per_sample import MEMORY, SampleGradients
from stg_ray.affinities.gradients.samples import chosen_part
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part
from stg_ray.errors import StgRayError
from stg_ray.models.outputs import as_labels

Result = TypeVar("Result")

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


class Landscape(Estimator):
    """What statistics of per-sample gradients share: the engine, the chosen rows, and a way on where memory ends."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.settings = source.settings
        self.gradients = SampleGradients(
            source.network(),
            self.settings.layers,
            torch.tensor(source.part(0).inputs[:2]).to(source.device),
            dtype=PRECISIONS[self.settings.precision],
            memory=_memory(source.device),
        )

    def micro_batches(self, part: Part, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Raw inputs (n, ...) and labels (n, K), floating point, on the device."""
        for start in range(0, len(part), rows):
            own = slice(start, start + rows)
            labels = as_labels(torch.tensor(part.labels[own]))
            yield torch.tensor(part.inputs[own]).to(self.source.device), labels.to(self.source.device)

    def chosen(self, number: int) -> Part:
        return chosen_part(self.source, number)

    def within_memory(self, compute: Callable[[SampleGradients], Result]) -> Result:
        """Compute with the micro-batches that there is memory for: half of them where it runs out.

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


class LandscapeDistance(Landscape):
    """K x K sums of distances, a part at a time."""

    kind: ClassVar[Kind] = "distance"
    about: ClassVar[str] = (
        "Distance of the tasks' per-sample gradients at one network: small where both pull the shared "
        "parameters the same way."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        n = self.settings.coordinates
        self.sample = None if n is None else CoordinateSample.draw(self.gradients.layers, n, source.seed)

    def partial(self, number: int) -> Partial:
        """Sums over the chosen rows of a part; with random coordinates also `folds` (FOLDS, K, K), their estimates."""
        part = self.chosen(number)
        folds, count = self.within_memory(lambda gradients: self._sums(gradients, part))
        sums = {"total": folds.mean(axis=0), "count": count, "samples": np.array(len(part))}
        return sums if self.sample is None else {**sums, "folds": folds}

    def _sums(self, gradients: SampleGradients, part: Part) -> tuple[np.ndarray, np.ndarray]:
        n_tasks = len(self.source.index.tasks)
        total = torch.zeros((), dtype=torch.float64, device=self.source.device)
        count = torch.zeros((), dtype=torch.float64, device=self.source.device)
        a, b = torch.triu_indices(n_tasks, n_tasks, 1, device=self.source.device)
        for inputs, labels in self.micro_batches(part, gradients.rows):
            distances = aligned_l1(
                gradients, inputs, labels, normalize=self.settings.normalize, sample=self.sample
            ).reshape(-1, len(inputs), len(a))
            present = ~torch.isnan(labels)
            if not present.all():
                distances *= present[:, a] & present[:, b]
            total = total + distances.sum(dim=1, dtype=torch.float64)
            count = count + present.double().T @ present.double()
        return squared_form(total, n_tasks).cpu().numpy(), count.cpu().numpy()

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        folds: list[np.ndarray] = []

        def noted() -> Iterator[Partial]:
            for partial in partials:
                if "folds" in partial:
                    folds[:] = [partial["folds"] + (folds[0] if folds else 0)]
                yield partial

        distance, error, samples = ratio_of_sums(noted(), "total", "count")
        parameters = {"coordinates_error": round(relative_error(folds[0]), 4)} if folds else {}
        return TaskMatrix(tuple(tasks), distance, cls.kind, parameters, samples), error


def relative_error(folds: np.ndarray) -> float:
    """Standard error of the mean over folds (F, K, K) of independent estimates, relative to it: its median over pairs
    of tasks."""
    upper = np.triu_indices(folds.shape[1], 1)
    own = folds[:, upper[0], upper[1]]
    own = own[:, own.mean(axis=0) > 0]
    if own.size == 0:
        return 0.0
    return float(np.median(own.std(axis=0, ddof=1) / np.sqrt(len(own)) / own.mean(axis=0)))


def _memory(device: torch.device) -> int:
    """Bytes for a micro-batch: `MEMORY`, halved until an actor on every CPU finds twice as much."""
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    else:
        available = psutil.virtual_memory().available // (psutil.cpu_count() or 1)
    memory = MEMORY
    while memory > 2**20 and 2 * memory > available:
        memory //= 2
    return memory
