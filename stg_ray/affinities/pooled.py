"""Distance of the tasks' gradients at different samples: for tasks that share no inputs.

D_ab = E |g_ia - g_jb|_1 over samples i of task a and j != i of task b (after Thakur et al., arXiv 2412.04413: the
distance of sample-wise local optima, without their samples), with weights that give every class of a task the same
part. It includes the differences among the gradients of one task. E|X - Y| is the negative of a kernel, so the affinity
is the cosine of the tasks' mean embeddings under that kernel (Sejdinovic et al. 2013, Annals of Statistics 41), centred
at their mean.

Pairs are those of all chosen rows, so that every class meets every other; within parts, rare ones seldom would. No row
is paired with itself, whose distance of 0 would bring a task nearer to itself the rarer it is: the inner products are
without bias. The square of a norm is off by about D_aa / n_a with n_a samples. One below this counts as this, so that
tasks which differ from the mean by chance alone have small cosines, not large ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.aligned import COORDINATE_FOLDS, CoordinateSample, pairwise_l1, squared_form
from stg_ray.affinities.base import Partial, task_names
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.joined import Span, joined
from stg_ray.affinities.gradients.layers import Layer
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import FOLDS, jackknife_error
from stg_ray.affinities.landscape import relative_error
from stg_ray.affinities.sign import centred_cosine
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import Task

BLOCK_BYTES = 64 * 2**20
"""Memory of a block of coordinates, each of which takes n x K numbers, and n x K x K where it is sorted."""

UNIT = 2048
"""Coordinates of a unit: a layer of 128 x 128 has 9 of them for the actors to share."""


class PooledAffinity(GradientEstimator):
    """The nearness of the tasks' gradients over pairs of all chosen rows, a block of coordinates at a time.

    Attributes:
        units: spans of coordinates. Random coordinates have a unit for each of their folds.
        factor: of random coordinates, the number of all coordinates over theirs; 1 where all are compared.
    """

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Nearness of the tasks' per-sample gradients as distributions: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        n, layers = self.settings.coordinates, self.gradients.layers
        sample = None if n is None else CoordinateSample.draw(layers, n, source.seed, closed=True)
        self.factor = 1.0 if sample is None else sample.factor
        self.units = _blocks(layers) if sample is None else _folds(sample)

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of blocks of coordinates."""
        return len(cls(source).units)

    def partial(self, number: int) -> Partial:
        """Compute the sums over pairs of different rows, at the coordinates of a unit.

        Returns:
            `total` weighted distances and `weight` (1 + F, K, K), `squares` (1 + F, K) of the rows' weights: of all
            rows, and without each of F folds of the parts; and whether the unit `is_random` coordinates.
        """
        weights = self._weights()
        has_pairs = _of_pairs(1.0 * (weights > 0)) > 0
        total = self.within_memory(lambda gradients: self._totals(gradients, self.units[number], weights))
        return {
            "total": np.where(has_pairs, self.factor * total, 0),
            "weight": np.where(has_pairs, _of_pairs(weights), 0),
            "squares": np.square(weights).sum(axis=1),
            "is_random": np.array(int(self.factor > 1)),
            "samples": np.array(weights.shape[1]),
        }

    def _weights(self) -> np.ndarray:
        """Return the weights (1 + F, n, K) of all chosen rows, and of those without each fold of the parts."""
        tasks = self.source.index.tasks
        of_parts = [self.chosen(number).labels for number in range(self.source.index.n_parts())]
        labels = np.concatenate(of_parts)
        fold = np.repeat(np.arange(len(of_parts)) % FOLDS, [len(part) for part in of_parts])
        left = [fold >= 0] + [fold != f for f in range(min(FOLDS, len(of_parts))) if len(of_parts) > 1]
        return np.stack([balanced_weights(labels, tasks, class_counts([labels[k]], tasks)) * k[:, None] for k in left])

    def _totals(self, gradients: SampleGradients, spans: Sequence[Span], weights: np.ndarray) -> np.ndarray:
        """Sum the weighted distances (1 + F, K, K) at some spans of coordinates."""
        _, n, n_tasks = weights.shape
        on_device = torch.from_numpy(weights).to(self.source.device, gradients.dtype)
        total = torch.zeros(len(weights), n_tasks, n_tasks, dtype=torch.float64)
        for values in joined(gradients, lambda: self._batches(gradients.rows), n, spans):
            for v, w in enumerate(on_device):
                kept = w.any(dim=1)
                total[v] += pooled_distances(values[kept], w[kept]).double().cpu()
        return total.numpy()

    def _batches(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the chosen rows of one part after the other in micro-batches."""
        for number in range(self.source.index.n_parts()):
            yield from self.micro_batches(self.chosen(number), rows)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the affinities, with jackknife errors over folds of the parts."""
        units = list(partials)
        last = units[-1]
        total = np.sum([unit["total"] for unit in units], axis=0)
        values, *without = map(_affinity, total, last["weight"], last["squares"])
        errors = jackknife_error(without) if without else np.full_like(values, np.nan)
        parameters = {}
        if last["is_random"]:
            parameters["coordinates_error"] = round(relative_error(np.stack([unit["total"][0] for unit in units])), 4)
        return TaskMatrix(task_names(tasks), values, cls.kind, parameters, int(last["samples"]), errors)


def _of_pairs(weights: np.ndarray) -> np.ndarray:
    """Sum w_ia w_jb over pairs of different rows: (V, K, K) of weights (V, n, K)."""
    sums = weights.sum(axis=1)
    of_pairs: np.ndarray = sums[:, :, None] * sums[:, None] - weights.transpose(0, 2, 1) @ weights
    return of_pairs


def _affinity(total: np.ndarray, weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.where(weight > 0, total / weight, np.nan)
    return centred_cosine(-distances, np.diag(distances) * squares)


def pooled_distances(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Sum w_ia w_jb |x_iap - x_jbp| over all pairs of different rows and over p.

    Args:
        x: (n, K, m).
        weights: (n, K).

    Returns:
        (K, K).
    """
    n, n_tasks, _ = x.shape
    per_column = 4 * x.element_size() * n * n_tasks
    total = x.new_zeros(n_tasks, n_tasks)
    for block in torch.split(x, max(1, BLOCK_BYTES // (per_column * n_tasks)), dim=2):
        for columns in torch.split(torch.arange(n_tasks, device=x.device), max(1, BLOCK_BYTES // per_column)):
            total[:, columns] += _one_sided(block, weights, columns)
    a, b = torch.triu_indices(n_tasks, n_tasks, 1, device=x.device)
    of_same_row = squared_form((weights[:, a] * weights[:, b] * pairwise_l1(x)).sum(dim=0), n_tasks)
    return total + total.T - of_same_row


def _one_sided(x: torch.Tensor, weights: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Compute M of which M + M^T are the sums over all pairs, those of the same row too, for some of the tasks b.

    Per coordinate all values are sorted once. With L_b(s) the weight of task b's values before s and R_b(s) of those
    after it, M_ab = sum over s of task a of w_s x_s (L_b(s) - R_b(s)): n K log(n K) + n K^2 operations where the pairs
    have n^2 K^2.

    Args:
        x: (n, K, m).
        weights: (n, K).
        columns: (B,) the tasks b.

    Returns:
        (K, B).
    """
    n, n_tasks, m = x.shape
    values = x.permute(2, 0, 1).reshape(m, n * n_tasks)
    order = values.argsort(dim=1)
    own = torch.diag_embed(weights)[:, :, columns]  # (n, K, B), of the value itself
    before = own.reshape(n * n_tasks, -1)[order].cumsum_(dim=1)
    difference = torch.empty_like(before).scatter_(1, order[:, :, None].expand_as(before), before)
    difference = (2 * difference - weights.sum(dim=0)[columns]).reshape(m, n, n_tasks, -1)
    difference -= own  # a value is neither before nor after itself
    return torch.einsum("nkm,mnkb->kb", weights[:, :, None] * x, difference)


def _blocks(layers: Sequence[Layer]) -> list[list[Span]]:
    """Return units that cover all coordinates of the layers once."""
    units = []
    for layer in layers:
        n_rows = max(1, UNIT // layer.row_size)
        units += [[Span(layer.name, slice(a, min(a + n_rows, layer.n_rows)))] for a in range(0, layer.n_rows, n_rows)]
    return units


def _folds(sample: CoordinateSample) -> list[list[Span]]:
    """Return a unit for each fold of random coordinates."""
    folds = range(COORDINATE_FOLDS)
    return [[Span(name, own[f]) for name, own in sample.of_layer.items() if len(own[f])] for f in folds]
