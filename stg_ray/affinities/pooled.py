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
from stg_ray.affinities.sign import cosines_from_mean
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
            rows, and without each of F folds of the parts, to first order in the change of the weights, which takes no
            more sorting; and whether the unit `is_random` coordinates.
        """
        weights = self._weights()
        present = 1.0 * (weights > 0)
        has_pairs = np.stack([_of_pairs(own, own) for own in present]) > 0
        of_pairs = np.stack([_of_pairs(own, weights[0]) for own in weights])
        total = self.within_memory(lambda gradients: self._totals(gradients, self.units[number], weights))
        return {
            "total": np.where(has_pairs, self.factor * _of_both_sides(total), 0),
            "weight": np.where(has_pairs, _of_both_sides(of_pairs), 0),
            "squares": np.square(weights).sum(axis=1),
            "is_random": np.array(int(self.factor > 1)),
            "samples": np.array(weights.shape[1]),
        }

    def _weights(self) -> np.ndarray:
        """Return the weights (1 + F, n, K) of all chosen rows, and of those without each fold of the parts."""
        tasks = self.source.index.tasks
        of_parts = [self.chosen(number).labels for number in range(self.n_parts)]
        labels = np.concatenate(of_parts)
        fold = np.repeat(np.arange(len(of_parts)) % FOLDS, [len(part) for part in of_parts])
        left = [fold >= 0] + [fold != f for f in range(min(FOLDS, len(of_parts))) if len(of_parts) > 1]
        return np.stack([balanced_weights(labels, tasks, class_counts([labels[k]], tasks)) * k[:, None] for k in left])

    def _totals(self, gradients: SampleGradients, spans: Sequence[Span], weights: np.ndarray) -> np.ndarray:
        """Sum the distances (1 + F, K, K) at some spans: by all weights of one row, by the first of the other."""
        _, n, n_tasks = weights.shape
        on_device = torch.from_numpy(weights).to(self.source.device, gradients.dtype)
        total = torch.zeros(len(weights), n_tasks, n_tasks, dtype=torch.float64)
        for values in joined(gradients, lambda: self._batches(gradients.rows), n, spans):
            total += pooled_distances(values, on_device, on_device[0]).double().cpu()
        return total.numpy()

    def _batches(self, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the chosen rows of one part after the other in micro-batches."""
        for number in range(self.n_parts):
            yield from self.micro_batches(self.chosen(number), rows)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the affinities, with jackknife errors over folds of the parts."""
        units = list(partials)
        last = units[-1]
        total = np.sum([unit["total"] for unit in units], axis=0)
        values, *without = map(_affinity, total, last["weight"], last["squares"])
        errors = jackknife_error(without) if without else np.full_like(values, np.nan)
        values = np.clip(values, -1, 1)  # not before: a value of 1 is not known exactly
        parameters = {}
        if last["is_random"]:
            parameters["coordinates_error"] = round(relative_error(np.stack([unit["total"][0] for unit in units])), 4)
        return TaskMatrix(task_names(tasks), values, cls.kind, parameters, int(last["samples"]), errors)


def _of_pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum left_ia right_jb over pairs of different rows: (K, K) of weights (n, K)."""
    return np.asarray(np.outer(left.sum(axis=0), right.sum(axis=0)) - left.T @ right)


def _of_both_sides(sums: np.ndarray) -> np.ndarray:
    """Return the sums (V, K, K) by other weights of both rows, to first order, from those by other weights of one.

    The first of them are of the weights themselves.
    """
    return np.asarray(sums + sums.transpose(0, 2, 1) - sums[0])


def _affinity(total: np.ndarray, weight: np.ndarray, squares: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.where(weight > 0, total / weight, np.nan)
    return cosines_from_mean(-distances, np.diag(distances) * squares)


def pooled_distances(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Sum left_via right_jb |x_iap - x_jbp| over all pairs of different rows and over p.

    Args:
        x: (n, K, m).
        left: (V, n, K) weights.
        right: (n, K) weights.

    Returns:
        (V, K, K).
    """
    n, n_tasks, _ = x.shape
    per_column = 4 * x.element_size() * n * n_tasks
    total = x.new_zeros(len(left), n_tasks, n_tasks)
    for block in torch.split(x, max(1, BLOCK_BYTES // (per_column * n_tasks)), dim=2):
        for columns in torch.split(torch.arange(n_tasks, device=x.device), max(1, BLOCK_BYTES // per_column)):
            total[:, :, columns] += torch.einsum("vnk,nkb->vkb", left, _distances_of_rows(block, right, columns))
    for rows in torch.split(torch.arange(n, device=x.device), max(1, BLOCK_BYTES // (x.element_size() * n_tasks**2))):
        of_same_row = squared_form(pairwise_l1(x[rows]), n_tasks)
        total -= torch.einsum("vnk,nkb,nb->vkb", left[:, rows], of_same_row, right[rows])
    return total


def _distances_of_rows(x: torch.Tensor, weights: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Sum w_jb |x_iap - x_jbp| over all rows j, that of i too, and over p, for some of the tasks b.

    Per coordinate all values are sorted once. With L and U the sums of w_jb and of w_jb x_jb over values up to x_s, and
    W and V those over all, the distance of s is x_s (2 L - W) + V - 2 U: n K log(n K) + n K^2 operations where the
    pairs have n^2 K^2.

    Args:
        x: (n, K, m).
        weights: (n, K).
        columns: (B,) the tasks b.

    Returns:
        (n, K, B).
    """
    n, n_tasks, m = x.shape
    values, order = x.permute(2, 0, 1).reshape(m, n * n_tasks).sort(dim=1)
    of_task = torch.diag_embed(weights)[:, :, columns].reshape(n * n_tasks, -1)
    w = of_task[order]
    up_to = (w * values[:, :, None]).cumsum_(dim=1)
    distances = up_to[:, -1:] - 2 * up_to
    w = w.cumsum_(dim=1)
    distances.addcmul_(values[:, :, None], 2 * w - w[:, -1:])
    total = x.new_zeros(n * n_tasks, len(columns))
    return total.index_add_(0, order.flatten(), distances.flatten(0, 1)).reshape(n, n_tasks, -1)


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
