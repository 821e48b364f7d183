"""Agreement of the signs of the tasks' per-sample gradients: for tasks that share no samples, too.

S_t = sum_i w_it sign(g_it), the density of sample-wise local optima of GradSign (Zhang and Jia 2022, arXiv 2110.08616),
with weights w that give every class of a task the same part. The affinity of two tasks is the cosine of S_a and S_b
centred at the mean over tasks. S adds over samples, but its size is that of the parameters: it is computed for a block
of coordinates at a time, and what leaves a block is the K x K matrix of its inner products.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Partial, task_names
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import FOLDS, jackknife_error
from stg_ray.affinities.landscape import Landscape
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part
from stg_ray.tasks import Task

BLOCK_BYTES = 256 * 2**20
"""Memory of the sums of a block of coordinates, of all tasks and folds."""

MIN_BLOCKS = 2
"""Blocks of a single layer, so that two actors have something to do; each block repeats the forward passes."""


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of the coordinates of a layer; `stop` is not included."""

    layer: str
    start: int
    stop: int


class SignAffinity(Landscape):
    """The agreement of the signs of the tasks' gradients, a block of coordinates at a time.

    Attributes:
        blocks: the units.
    """

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Agreement of the signs of the tasks' per-sample gradients: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.blocks = blocks_of(self.gradients)

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of blocks of coordinates."""
        return len(cls(source).blocks)

    def partial(self, number: int) -> Partial:
        """Compute the inner products of the tasks' S over one block of coordinates.

        Returns:
            `products` (1 + F, K, K): of all samples, and without each of F folds of the parts.
        """
        block = self.blocks[number]
        n_parts = self.source.index.n_parts()
        tasks = self.source.index.tasks
        counts = class_counts([self.chosen(part).labels for part in range(n_parts)], tasks)
        n_folds = min(FOLDS, n_parts)
        sums = torch.zeros(())
        samples = 0
        for part_number in range(n_parts):
            part = self.chosen(part_number)
            weights = torch.from_numpy(balanced_weights(part.labels, tasks, counts)).to(self.source.device)
            of_part = self.within_memory(functools.partial(self._signed, block=block, part=part, weights=weights))
            if samples == 0:
                sums = of_part.new_zeros(n_folds, *of_part.shape)
            sums[part_number % n_folds] += of_part
            samples += len(part)
        total = sums.sum(dim=0)
        variants = [total] + ([total - fold for fold in sums] if n_folds > 1 else [])
        products = [(s.double() @ s.double().T).cpu().numpy() for s in variants]
        return {"products": np.stack(products), "samples": np.array(samples)}

    def _signed(self, gradients: SampleGradients, block: Block, part: Part, weights: torch.Tensor) -> torch.Tensor:
        batches = self.micro_batches(part, gradients.rows)
        pieces = zip(batches, torch.split(weights, gradients.rows), strict=True)
        return torch.stack([signed_sums(gradients, block, *batch, w) for batch, w in pieces]).sum(dim=0)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the cosines from the products of all blocks, with jackknife errors over folds of the parts."""
        products: np.ndarray = np.zeros(())
        samples = 0
        for partial in partials:
            products = products + partial["products"]
            samples = int(partial["samples"])
        values, *without = map(centred_cosine, products)
        errors = jackknife_error(without) if without else np.full_like(values, np.nan)
        return TaskMatrix(task_names(tasks), values, cls.kind, samples=samples, errors=errors)


def centred_cosine(products: np.ndarray) -> np.ndarray:
    """Compute the cosines (K, K) of vectors centred at their mean, from their inner products (K, K).

    They are NaN for a vector that is the mean, and for pairs whose product is NaN.
    """
    means = np.nanmean(products, axis=0)
    centred = products - means - means[:, None] + np.nanmean(products)
    norms = np.sqrt(np.maximum(np.diag(centred), 0))
    norms[norms <= 1e-9 * np.sqrt(np.nanmax(np.abs(np.diag(products))))] = np.nan
    cosines: np.ndarray = np.clip(centred / np.outer(norms, norms), -1, 1)
    return cosines


def blocks_of(gradients: SampleGradients) -> list[Block]:
    """Return blocks that cover all layers' coordinates once, each so small that its sums fit into `BLOCK_BYTES`."""
    blocks = []
    n_tasks = len(gradients.network.layout.tasks)
    for layer in gradients.layers:
        n_bytes = gradients.dtype.itemsize * n_tasks * (FOLDS + 2) * layer.n_coordinates
        least = MIN_BLOCKS if len(gradients.layers) == 1 else 1
        n_blocks = min(layer.n_rows, max(-(-n_bytes // BLOCK_BYTES), least))
        bounds = np.linspace(0, layer.n_rows, n_blocks + 1).round().astype(int).tolist()
        blocks += [Block(layer.name, a, b) for a, b in itertools.pairwise(bounds)]
    return blocks


def signed_sums(
    gradients: SampleGradients, block: Block, inputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Compute S_t = sum_i w_it sign(g_it) over a block of coordinates for a micro-batch.

    Args:
        gradients: the engine.
        block: of p coordinates of one layer.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        weights: (n, K).

    Returns:
        (K, p).
    """
    ((_, layer_gradients),) = gradients.of_layer(block.layer).at(inputs, labels).layers()
    return layer_gradients.signed_sum(weights.to(gradients.dtype), block.start, block.stop)
