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

from stg_ray.affinities.base import Partial
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import FOLDS, jackknife_error
from stg_ray.affinities.landscape import Landscape
from stg_ray.affinities.source import Source
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data.parts import Part

BLOCK_BYTES = 256 * 2**20
MIN_BLOCKS = 2
"""Two actors have something to do; each block repeats the forward passes."""


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of the coordinates of a layer."""

    layer: str
    start: int
    stop: int


class SignAffinity(Landscape):
    """K x K inner products, a block of coordinates at a time."""

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False
    about: ClassVar[str] = (
        "Agreement of the signs of the tasks' per-sample gradients: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    @classmethod
    def n_units(cls, source: Source) -> int:
        return len(cls(source).blocks)

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.blocks = blocks_of(self.gradients)

    def partial(self, number: int) -> Partial:
        """Inner products of the tasks' S over one block: (1 + F, K, K), of all samples and without each fold."""
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

            own = self.within_memory(functools.partial(self._signed, block=block, part=part, weights=weights))
            if samples == 0:
                sums = own.new_zeros(n_folds, *own.shape)
            sums[part_number % n_folds] += own
            samples += len(part)
        total = sums.sum(dim=0)
        variants = [total] + ([total - fold for fold in sums] if n_folds > 1 else [])
        products = [(s.double() @ s.double().T).cpu().numpy() for s in variants]
        return {"products": np.stack(products), "samples": np.array(samples)}

    def _signed(self, gradients: SampleGradients, block: Block, part: Part, weights: torch.Tensor) -> torch.Tensor:
        batches = self.micro_batches(part, gradients.rows)
        pieces = zip(batches, weights.split(gradients.rows), strict=True)
        return torch.stack([signed_sums(gradients, block, *batch, own) for batch, own in pieces]).sum(dim=0)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[str]) -> tuple[TaskMatrix, np.ndarray]:
        """Jackknife errors over the folds."""
        products: np.ndarray = np.zeros(())
        samples = 0
        for partial in partials:
            products = products + partial["products"]
            samples = int(partial["samples"])
        affinity, *without = map(centred_cosine, products)
        error = jackknife_error(without) if without else np.full_like(affinity, np.nan)
        return TaskMatrix(tuple(tasks), affinity, cls.kind, samples=samples), error


def centred_cosine(products: np.ndarray) -> np.ndarray:
    """Cosines of vectors centred at their mean, from their inner products (K, K); NaN for a vector that is the mean,
    and for pairs whose product is NaN."""
    means = np.nanmean(products, axis=0)
    centred = products - means - means[:, None] + np.nanmean(products)
    norms = np.sqrt(np.maximum(np.diag(centred), 0))
    norms[norms <= 1e-9 * np.sqrt(np.nanmax(np.abs(np.diag(products))))] = np.nan
    return np.clip(centred / np.outer(norms, norms), -1, 1)


def blocks_of(gradients: SampleGradients) -> list[Block]:
    """Blocks of the layers' coordinates, such that K times a block's fit into memory."""
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
    """S (K, p) over a block of p coordinates for a micro-batch: sum_i w_it sign(g_it), weights (n, K)."""
    ((_, own),) = gradients.of_layer(block.layer).at(inputs, labels).layers()
    return own.signed_sum(weights.to(gradients.dtype), block.start, block.stop)
