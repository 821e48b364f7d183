"""Grad-TAG: what the training of a subset of tasks would give, by linear models (Li et al. 2024, arXiv 2409.06091).

The network is taken to be linear around the profiled one, in d random directions R of its shared parameters (see
`gradients.projection`). A subset S of tasks is "trained" by one Newton step on the sum of its tasks' mean losses on
training rows,

    w_S = (sum_t H_t + lambda I)^-1 sum_t b_t,   b_t = mean r_it x_it,   H_t = mean h_it x_it x_it^T,

with lambda = ridge x the mean diagonal of sum_t H_t. The gain of task i in S is the share by which the step lowers its
loss on validation rows, to second order, (b_i . w_S - w_S^T H_i w_S / 2) / L_i. The affinity of i for j is the mean
gain of i over random subsets that hold both. It is directed.

The paper fits logistic regressions by more than one step, and evaluates the network itself at theta_0 + R w_S. Here b
and H are all that is needed of the samples: they add over parts, and the number of subsets costs next to nothing.

Measured (jobs/bench/affinity_methods.py): on emotions the falls of validation losses after five more epochs on random
subsets correlate with the estimates (Spearman 0.82 over tasks and subsets), which are half as large (0.025, 0.048). It
is no measure of likeness: of 24 tasks that are scene's six with noise it finds the six no better than chance, nor do
tag and transfer_gain, where correlations and cosines find all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Need, Partial, task_names
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.projection import Projection, curvature_scale
from stg_ray.affinities.gradients.samples import parts_looked_at, rows_per_part
from stg_ray.affinities.jackknife import FOLDS, Sums, jackknife
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task

SPLITS = ("train", "val")

KEYS = ("slope", "curvature", "loss", "count")

AT_ONCE = 64
"""Subsets whose models are solved at once."""


@dataclass(frozen=True)
class Subsets:
    """Random subsets of tasks, and how their models are solved.

    Attributes:
        size: number of tasks in each.
        meetings: in how many subsets two tasks meet, on average.
        ridge: weight of the penalty, in units of the mean curvature.
        seed: of the run.
    """

    size: int
    meetings: int
    ridge: float
    seed: int

    def draw(self, n_tasks: int) -> np.ndarray:
        """Return (M, K) whether a task is in a subset; all tasks are in about as many."""
        size = min(self.size, n_tasks)
        n = 1 if size == n_tasks else math.ceil(self.meetings * n_tasks * (n_tasks - 1) / (size * (size - 1)))
        rng = generator(Stream.SUBSETS, self.seed)
        each = n_tasks // size
        orders = [rng.permutation(n_tasks)[: each * size].reshape(each, size) for _ in range(math.ceil(n / each))]
        members = np.zeros((n, n_tasks), dtype=bool)
        np.put_along_axis(members, np.concatenate(orders)[:n], True, axis=1)
        return members


class GradTag(GradientEstimator):
    """Mean estimated gains of the tasks in random subsets; the units are the training parts, then those of validation.

    Rows are taken as they come, whatever `affinity.sampling` is: classes as frequent as they are, since the mean losses
    are those of the training.
    """

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = GradientEstimator.needs | {"validation_rows"}
    about: ClassVar[str] = (
        "Estimated gain of the row's task, as a share of its validation loss, from training with the column's: the "
        "mean over random subsets that hold both."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        own = self.settings
        size = max(3, round(math.sqrt(len(source.index.tasks)))) if own.grad_tag_size == "auto" else own.grad_tag_size
        self.subsets = Subsets(size, own.grad_tag_meetings, own.grad_tag_ridge, source.seed)
        self.projection = Projection(self.gradients.layers, own.grad_tag_dimension, source.seed, self.gradients.dtype)

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of training and validation parts of which rows are looked at."""
        return sum(_n_parts(source).values())

    def partial(self, number: int) -> Partial:
        """Compute the sums of a part, over samples that are labelled for a task.

        Returns:
            `slope` (K, d) of r x, `curvature` (K, d, d) of h x x^T, `loss` and `count` (K,); whether they are of
            validation rows; and the settings of the subsets.
        """
        n_parts = _n_parts(self.source)
        is_validation = number >= self.n_parts
        split, own = SPLITS[is_validation], number - self.n_parts * is_validation
        part = self.source.part(own, split)
        n = math.ceil(rows_per_part(self.settings, self.source.index) * self.n_parts / n_parts[split])
        part = Part(part.samples[:n], part.inputs[:n], part.labels[:n])
        sums = self.within_memory(lambda gradients: self._sums(gradients, part))
        settings = {key: np.array(value) for key, value in vars(self.subsets).items()}
        rows = np.array(0 if is_validation else len(part))
        return {**sums, **settings, "is_validation": np.array(int(is_validation)), "samples": rows}

    def _sums(self, gradients: SampleGradients, part: Part) -> Sums:
        batches = [self.sums_of(gradients, *batch) for batch in self.micro_batches(part, gradients.rows)]
        return _added(batches)

    def sums_of(self, gradients: SampleGradients, inputs: torch.Tensor, labels: torch.Tensor) -> Sums:
        """Compute the sums of a micro-batch of raw inputs (n, ...), with labels (n, K), NaN where missing."""
        pullback = gradients.at(inputs, labels)
        labels = labels.to(gradients.dtype)
        scale = curvature_scale(gradients.network, pullback.features, labels)
        x = self.projection.of(pullback, scale).transpose(0, 1)
        losses = gradients.network.layout.losses(gradients.network.heads(pullback.features), labels)
        sums = {
            "slope": -torch.einsum("knd,nk->kd", x, 1 / scale),
            "curvature": x.transpose(1, 2) @ x,
            "loss": losses.sum(dim=0),
            "count": (~torch.isnan(labels)).sum(dim=0),
        }
        return {key: value.double().cpu().numpy() for key, value in sums.items()}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the mean gains, with jackknife errors over folds of the parts of both splits."""
        folds: dict[str, list[Sums]] = {split: [] for split in SPLITS}
        subsets, samples, number = Subsets(2, 1, 1.0, 0), 0, 0
        for partial in partials:
            split = SPLITS[int(partial["is_validation"])]
            number = number + 1 if folds[split] else 0
            sums = {key: partial[key] for key in KEYS}
            if number < FOLDS:
                folds[split].append(sums)
            else:
                folds[split][number % FOLDS] = _added([folds[split][number % FOLDS], sums])
            samples += int(partial["samples"])
            subsets = Subsets(*(partial[key].item() for key in ("size", "meetings", "ridge", "seed")))
        members = subsets.draw(len(tasks))
        n_folds = min(map(len, folds.values()))
        both = [
            {f"{split}.{key}": v for split in SPLITS for key, v in _added(folds[split][f::n_folds]).items()}
            for f in range(n_folds)
        ]
        values, errors = jackknife(both, lambda sums: mean_gains(sums, members, subsets.ridge))
        return TaskMatrix(task_names(tasks), values, cls.kind, {"subsets": len(members)}, samples, errors)


def _n_parts(source: Source) -> dict[str, int]:
    """Return how many parts of the training and validation rows are looked at."""
    most = parts_looked_at(source.settings, source.index)
    return {split: min(most, source.index.n_parts(split)) for split in SPLITS}


def _added(sums: Sequence[Sums]) -> Sums:
    return {key: np.sum([each[key] for each in sums], axis=0) for key in KEYS}


def mean_gains(sums: Sums, members: np.ndarray, ridge: float) -> np.ndarray:
    """Compute the mean gains (K, K) of the row's task over the subsets that hold it and the column's.

    They are NaN for pairs that are in no subset together, and for tasks without validation labels.

    Args:
        sums: of both splits, by `SPLIT.KEY`, as `GradTag.partial` returns them.
        members: (M, K) whether a task is in a subset.
        ridge: weight of the penalty.
    """
    inside = members.astype(np.float64)
    gains = np.where(members, gains_of(sums, members, ridge), 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (gains.T @ inside) / (inside.T @ inside)
    return np.where((sums["val.loss"] > 0)[:, None], means, np.nan)


def gains_of(sums: Sums, members: np.ndarray, ridge: float) -> np.ndarray:
    """Compute the estimated gains (M, K) of all tasks from the training of each subset (M, K).

    Args:
        sums: of both splits, by `SPLIT.KEY`.
        members: (M, K) whether a task is in a subset.
        ridge: weight of the penalty.

    Returns:
        The shares by which the tasks' validation losses fall; NaN for tasks without any.
    """
    n_tasks, d = sums["train.slope"].shape
    per_label = 1 / np.maximum(sums["train.count"], 1)
    slope, curvature = sums["train.slope"] * per_label[:, None], sums["train.curvature"] * per_label[:, None, None]
    steps = []
    for start in range(0, len(members), AT_ONCE):
        inside = members[start : start + AT_ONCE].astype(np.float64)
        of_subsets = (inside @ curvature.reshape(n_tasks, -1)).reshape(-1, d, d)
        penalty = ridge * np.trace(of_subsets, axis1=1, axis2=2) / d
        penalty[penalty == 0] = 1  # of tasks that are learned without a rest, or have no labels: they take no step
        of_subsets += penalty[:, None, None] * np.eye(d)
        steps.append(np.linalg.solve(of_subsets, (inside @ slope)[:, :, None])[:, :, 0])
    w = np.concatenate(steps)
    quadratic = np.stack([np.einsum("md,md->m", w @ of_task, w) for of_task in sums["val.curvature"]], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        gains: np.ndarray = (w @ sums["val.slope"].T - quadratic / 2) / sums["val.loss"]
    return gains
