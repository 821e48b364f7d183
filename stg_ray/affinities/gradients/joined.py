"""Gradients of all chosen rows at some coordinates at a time: for what compares samples with each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.per_sample import SampleGradients

Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]
"""Returns all micro-batches, from the first on: raw inputs (rows, ...) and labels (rows, K)."""


@dataclass(frozen=True)
class Span:
    """Coordinates of a layer.

    Attributes:
        layer: its name.
        where: a slice of its rows of coordinates, or sorted coordinates (m,).
    """

    layer: str
    where: slice | torch.Tensor

    def of(self, gradients: LayerGradients) -> torch.Tensor:
        """Compute the gradients (n, K, m) of all samples of a micro-batch at these coordinates."""
        samples = slice(0, gradients.shape[0])
        if isinstance(self.where, slice):
            return gradients.of_rows(samples, self.where.start, self.where.stop)
        return gradients.of_coordinates(samples, self.where.to("cuda" if gradients.is_cuda else "cpu"))

    def size(self, row_size: int) -> int:
        """Return the number of coordinates, of a layer with rows of so many."""
        if isinstance(self.where, slice):
            return int(self.where.stop - self.where.start) * row_size
        return len(self.where)

    def cut(self, most: int, row_size: int) -> list[Span]:
        """Return spans of at most so many coordinates, or of one row, which together are this one."""
        if isinstance(self.where, slice):
            step = max(1, most // row_size)
            stop = self.where.stop
            starts = range(self.where.start, stop, step)
            return [Span(self.layer, slice(start, min(start + step, stop))) for start in starts]
        return [Span(self.layer, piece) for piece in torch.split(self.where, most)]


def joined(gradients: SampleGradients, batches: Batches, n: int, spans: Sequence[Span]) -> Iterator[torch.Tensor]:
    """Yield the gradients (n, K, m) of all rows, at the coordinates of spans, or of pieces of these.

    All micro-batches are gone through for as many coordinates as a quarter of the engine's memory holds. So memory
    decides how long this takes, not what it gives.

    Args:
        gradients: the engine.
        batches: of the rows.
        n: the number of rows.
        spans: of coordinates.
    """
    most = max(1, gradients.memory // (4 * gradients.dtype.itemsize * n * len(gradients.network.layout.tasks)))
    row_sizes = {layer.name: layer.row_size for layer in gradients.layers}
    waiting = [piece for span in spans for piece in span.cut(most, row_sizes[span.layer])]
    while waiting:
        reached = list(itertools.accumulate(span.size(row_sizes[span.layer]) for span in waiting))
        n_fitting = max(1, sum(size <= most for size in reached))
        some, waiting = waiting[:n_fitting], waiting[n_fitting:]
        engine = gradients.of_layers({span.layer for span in some})
        pieces: list[list[torch.Tensor]] = [[] for _ in some]
        for inputs, labels in batches():
            for layer, of_layer in engine.at(inputs, labels).layers():
                for span, own in zip(some, pieces, strict=True):
                    if span.layer == layer.name:
                        own.append(span.of(of_layer))
        while pieces:
            yield torch.cat(pieces.pop(0))
