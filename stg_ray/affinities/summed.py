"""The base of affinities by sums of per-sample gradients over all samples, whose size is that of the parameters.

A sum is computed for a block of coordinates at a time, and what leaves a block is the K x K matrix of its inner
products, which add over blocks. So K x P numbers are never held in one place.
"""

from __future__ import annotations

import functools
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.base import Partial, task_names
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.samples import balanced_weights, class_counts
from stg_ray.affinities.jackknife import FOLDS, jackknife_error
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


class SummedGradients(GradientEstimator):
    """A cosine of the tasks' sums over the chosen rows, weighted so that every class of a task has the same part.

    Attributes:
        blocks: the units.
    """

    kind: ClassVar[Kind] = "affinity"
    units_are_parts: ClassVar[bool] = False

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.blocks = blocks_of(self.gradients)

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of blocks of coordinates."""
        return len(cls(source).blocks)

    @staticmethod
    @abstractmethod
    def sums(gradients: LayerGradients, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute the weighted sums (K, coordinates) of a micro-batch in rows `start` to `stop` of a layer.

        Args:
            gradients: of a layer, of n samples and K tasks.
            weights: (n, K), 0 where a label is missing.
            start, stop: rows of the layer's coordinates; `stop` is not included.
        """

    @staticmethod
    @abstractmethod
    def cosine(products: np.ndarray) -> np.ndarray:
        """Compute the affinities (K, K) from the inner products (K, K) of the sums."""

    def partial(self, number: int) -> Partial:
        """Compute the inner products of the tasks' sums over one block of coordinates.

        Returns:
            `products` (1 + F, K, K): of all samples, and without each of F folds of the parts.
        """
        block = self.blocks[number]
        tasks = self.source.index.tasks
        counts = class_counts([self.chosen(part).labels for part in range(self.n_parts)], tasks)
        n_folds = min(FOLDS, self.n_parts)
        sums = torch.zeros(())
        samples = 0
        for part_number in range(self.n_parts):
            part = self.chosen(part_number)
            weights = torch.from_numpy(balanced_weights(part.labels, tasks, counts)).to(self.source.device)
            of_part = self.within_memory(functools.partial(self._of_part, block=block, part=part, weights=weights))
            if samples == 0:
                sums = of_part.new_zeros(n_folds, *of_part.shape)
            sums[part_number % n_folds] += of_part
            samples += len(part)
        total = sums.sum(dim=0)
        variants = [total] + ([total - fold for fold in sums] if n_folds > 1 else [])
        products = [(s.double() @ s.double().T).cpu().numpy() for s in variants]
        return {"products": np.stack(products), "samples": np.array(samples)}

    def _of_part(self, gradients: SampleGradients, block: Block, part: Part, weights: torch.Tensor) -> torch.Tensor:
        batches = self.micro_batches(part, gradients.rows)
        pieces = zip(batches, torch.split(weights, gradients.rows), strict=True)
        return torch.stack([self.sums_of(gradients, block, *batch, w) for batch, w in pieces]).sum(dim=0)

    @classmethod
    def sums_of(
        cls,
        gradients: SampleGradients,
        block: Block,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Compute the weighted sums (K, p) of a micro-batch over a block of p coordinates of one layer.

        Args:
            gradients: the engine.
            block: of coordinates.
            inputs: (n, ...) raw inputs.
            labels: (n, K) floating point, NaN for missing.
            weights: (n, K), 0 where a label is missing.
        """
        ((_, of_layer),) = gradients.of_layers({block.layer}).at(inputs, labels).layers()
        return cls.sums(of_layer, weights.to(gradients.dtype), block.start, block.stop)

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the cosines from the products of all blocks, with jackknife errors over folds of the parts."""
        products: np.ndarray = np.zeros(())
        samples = 0
        for partial in partials:
            products = products + partial["products"]
            samples = int(partial["samples"])
        values, *without = map(cls.cosine, products)
        errors = jackknife_error(without) if without else np.full_like(values, np.nan)
        return TaskMatrix(task_names(tasks), values, cls.kind, samples=samples, errors=errors)


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
