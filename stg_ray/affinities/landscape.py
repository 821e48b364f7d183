"""Sample-wise loss-landscape distance of tasks (Thakur et al., arXiv 2412.04413), aligned on common samples.

d(a, b) = mean over samples labelled for both of |g_ia - g_ib|_1, the gradients taken at one network, by default the
profiled one, and for its last layer with a weight matrix. No training is needed beyond the profile. At a random
initialisation tasks against the rest differ by their labels only, and this says little: use the sign there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.aligned import CoordinateSample, aligned_l1, squared_form
from stg_ray.affinities.base import Need, Partial, RatioSums, task_names
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part
from stg_ray.tasks import Task


class LandscapeDistance(GradientEstimator):
    """The mean distance of the tasks' gradients at the same sample, a part at a time.

    Attributes:
        sample: the coordinates that are compared; None where all are.
    """

    needs: ClassVar[frozenset[Need]] = GradientEstimator.needs | {"common_samples"}
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
        """Compute `total` distances and `count` (K, K) of the chosen rows of a part.

        With random coordinates there are also `folds` (COORDINATE_FOLDS, K, K), their estimates of the total.
        """
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
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the mean distances and their errors; with random coordinates also the error of these."""
        sums = RatioSums("total", "count")
        folds: np.ndarray | None = None
        for partial in partials:
            sums.add(partial)
            if "folds" in partial:
                folds = partial["folds"] if folds is None else partial["folds"] + folds
        parameters = {} if folds is None else {"coordinates_error": round(relative_error(folds), 4)}
        distance, errors = sums.mean_and_error()
        return TaskMatrix(task_names(tasks), distance, cls.kind, parameters, sums.samples, errors)


def relative_error(folds: np.ndarray) -> float:
    """Compute the standard error of the mean of independent estimates (F, K, K), relative to it.

    Returns:
        Its median over pairs of tasks; 0 where all means are 0.
    """
    upper = np.triu_indices(folds.shape[1], 1)
    estimates = folds[:, upper[0], upper[1]]
    estimates = estimates[:, estimates.mean(axis=0) > 0]
    if estimates.size == 0:
        return 0.0
    return float(np.median(estimates.std(axis=0, ddof=1) / np.sqrt(len(estimates)) / estimates.mean(axis=0)))
