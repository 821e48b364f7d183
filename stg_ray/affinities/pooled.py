"""Distance of the tasks' gradients at different samples: for tasks that share no inputs.

E |g_ia - g_jb|_1 over samples i of task a and j of task b (after Thakur et al., arXiv 2412.04413: the distance
of sample-wise local optima, without their samples), with weights that give every class of a task the same part. It
includes the differences among the gradients of one task. E|X - Y| is the negative of a kernel, so the affinity is the
cosine of the tasks' mean embeddings under that kernel (Sejdinovic et al. 2013, Annals of Statistics 41), centred at
their mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.aligned import COORDINATE_FOLDS, CoordinateSample
from stg_ray.affinities.base import Partial, task_names
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import Sums, fold_sums, jackknife
from stg_ray.affinities.landscape import relative_error
from stg_ray.affinities.sign import centred_cosine
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part
from stg_ray.tasks import Task

BLOCK_BYTES = 64 * 2**20
"""Memory of a block of coordinates, each of which takes n x K x K numbers."""


class PooledAffinity(GradientEstimator):
    """The nearness of the tasks' gradients over pairs of samples within a part; parts are random samples of all rows.

    Attributes:
        sample: the coordinates that are compared; None where all are.
    """

    kind: ClassVar[Kind] = "affinity"
    about: ClassVar[str] = (
        "Nearness of the tasks' per-sample gradients as distributions: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        n = self.settings.coordinates
        self.sample = None if n is None else CoordinateSample.draw(self.gradients.layers, n, source.seed, closed=True)

    def partial(self, number: int) -> Partial:
        """Compute `total` weighted distances and `weight` (K, K) over pairs of the chosen rows of a part.

        With random coordinates there are also `folds` (COORDINATE_FOLDS, K, K), their estimates of the total.
        """
        part = self.chosen(number)
        folds, weight = self.within_memory(lambda gradients: self._sums(gradients, part))
        sums = {"total": folds.mean(axis=0), "weight": weight, "samples": np.array(len(part))}
        return sums if self.sample is None else {**sums, "folds": folds}

    def _sums(self, gradients: SampleGradients, part: Part) -> tuple[np.ndarray, np.ndarray]:
        tasks = self.source.index.tasks
        sums, total_weight = np.zeros((1, len(tasks), len(tasks))), np.zeros((len(tasks), len(tasks)))
        rows = max(2, gradients.rows)
        for start, (inputs, labels) in zip(range(0, len(part), rows), self.micro_batches(part, rows), strict=True):
            stored = part.labels[start : start + rows]
            w = torch.from_numpy(balanced_weights(stored, tasks, class_counts([stored], tasks))).to(inputs.device)
            weight = w.sum(dim=0)[:, None] * w.sum(dim=0)
            distances = pooled_l1(gradients, inputs, labels, w.to(gradients.dtype), sample=self.sample)
            sums = sums + distances.double().cpu().numpy()
            total_weight += weight.cpu().numpy()
        return sums, total_weight

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the affinities, with jackknife errors over folds of the parts."""
        folds = fold_sums(partials)
        values, errors = jackknife(folds, _affinity)
        samples = int(sum(fold["samples"] for fold in folds))
        parameters = {}
        if "folds" in folds[0]:
            parameters["coordinates_error"] = round(relative_error(np.sum([f["folds"] for f in folds], axis=0)), 4)
        return TaskMatrix(task_names(tasks), values, cls.kind, parameters, samples, errors)


def _affinity(sums: Sums) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred_cosine(-np.where(sums["weight"] > 1e-12, sums["total"] / sums["weight"], np.nan))


def pooled_l1(
    gradients: SampleGradients,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    *,
    sample: CoordinateSample | None = None,
) -> torch.Tensor:
    """Sum weights_ia weights_jb |g_ia - g_jb|_1 over all pairs of samples of a micro-batch.

    Args:
        gradients: the engine.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        weights: (n, K), 0 where a label is missing.
        sample: estimate the sums from these coordinates.

    Returns:
        (1, K, K); with a sample (COORDINATE_FOLDS, K, K), the estimates of its folds.
    """
    n, n_tasks = weights.shape
    width = max(1, BLOCK_BYTES // (weights.element_size() * 4 * n * n_tasks**2))
    total = weights.new_zeros(COORDINATE_FOLDS if sample else 1, n_tasks, n_tasks)
    for layer, layer_gradients in gradients.at(inputs, labels).layers():
        if sample is None:
            for start, stop in _row_blocks(layer_gradients, width):
                for block in torch.split(layer_gradients.of_rows(slice(0, n), start, stop), width, dim=2):
                    total += pooled_distances(block, weights)
            continue
        for fold, index in enumerate(sample.of_layer[layer.name]):
            for coordinates in torch.split(index.to(inputs.device), width) if len(index) else ():
                values = layer_gradients.of_coordinates(slice(0, n), coordinates)
                total[fold] += sample.factor * COORDINATE_FOLDS * pooled_distances(values, weights)
    return total


def pooled_distances(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum w_ia w_jb |x_iap - x_jbp| over all pairs of rows and over p.

    Per coordinate all values are sorted once. With L_b(s) the weight of task b's values before s and R_b(s) of those
    after it, the sum is M + M^T with M_ab = sum over s of task a of w_s x_s (L_b(s) - R_b(s)): n K log(n K) + n K^2
    operations where the pairs have n^2 K^2.

    Args:
        x: (n, K, m).
        weights: (n, K).

    Returns:
        (K, K).
    """
    n, n_tasks, m = x.shape
    values = x.permute(2, 0, 1).reshape(m, n * n_tasks)
    flat = weights.flatten()
    order = values.argsort(dim=1)
    ordered = flat[order]
    before = x.new_zeros(m, n * n_tasks, n_tasks)
    before.scatter_(2, (order % n_tasks)[:, :, None], ordered[:, :, None])
    before = before.cumsum_(dim=1)
    difference = torch.empty_like(before).scatter_(1, order[:, :, None].expand_as(before), before)
    difference = (2 * difference - weights.sum(dim=0)).reshape(m, n, n_tasks, n_tasks)
    difference -= torch.diag_embed(weights)  # a value is neither before nor after itself
    one_sided = torch.einsum("nkm,mnkb->kb", weights[:, :, None] * x, difference)
    return one_sided + one_sided.T


def _row_blocks(gradients: LayerGradients, width: int) -> Iterator[tuple[int, int]]:
    """Yield bounds of blocks of rows, of at most `width` coordinates or of one row."""
    n_rows = max(1, width // gradients.row_size)
    for start in range(0, gradients.n_rows, n_rows):
        yield start, min(start + n_rows, gradients.n_rows)
