"""Distances of tasks by their gradients at the same sample (Thakur et al., arXiv 2412.04413)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from stg_ray.affinities.gradients.per_sample import Layer, SampleGradients
from stg_ray.affinities.gradients.rules import LayerGradients
from stg_ray.seeds import Stream, generator

CACHE = 2**20
"""Bytes of all tasks' gradients that are compared at a time: pairs of rows are then read from the cache. Four times as
fast as from memory at 100 tasks."""

FOLDS = 8
"""Random coordinates are dealt to so many folds, whose scatter tells the error of the estimate."""


@dataclass(frozen=True)
class CoordinateSample:
    """Random coordinates of some layers, drawn without replacement.

    Attributes:
        of_layer: by layer, the sorted coordinates of each fold.
        factor: coordinates there are, for each one that was drawn.
    """

    of_layer: dict[str, list[torch.Tensor]]
    factor: float

    @classmethod
    def draw(cls, layers: list[Layer], n: int, seed: int, *, closed: bool = False) -> CoordinateSample | None:
        """n coordinates of the layers that have no closed form (or of all, with `closed`). None where there are no
        more than n: then all are taken."""
        open_layers = [layer for layer in layers if closed or not layer.closed_form]
        total = sum(layer.n_coordinates for layer in open_layers)
        if total <= n:
            return None
        rng = generator(Stream.COORDINATES, seed)
        chosen = rng.permutation(rng.choice(total, size=n, replace=False))
        of_layer: dict[str, list[torch.Tensor]] = {}
        start = 0
        for layer in open_layers:
            stop = start + layer.n_coordinates
            folds = [np.sort(fold[(fold >= start) & (fold < stop)]) - start for fold in np.array_split(chosen, FOLDS)]
            of_layer[layer.name] = [torch.from_numpy(fold) for fold in folds]
            start = stop
        return cls(of_layer, total / n)


def aligned_l1(
    gradients: SampleGradients,
    inputs: torch.Tensor,
    labels: torch.Tensor,
    *,
    normalize: bool = False,
    sample: CoordinateSample | None = None,
) -> torch.Tensor:
    """Distances |g_ia - g_ib|_1 of all pairs of tasks at every sample of a micro-batch.

    They are those of the sample-wise local optima one gradient step away, with the learning rate, which is a common
    factor, left out. Where task a or b has no label the value is meaningless and must be masked.

    Args:
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        normalize: scale each g_it to unit L1 norm over the chosen parameters (a zero gradient stays zero).
        sample: estimate the distances of layers without a closed form from these coordinates.

    Returns:
        (n, K (K - 1) / 2) in the order of `torch.triu_indices(K, K, 1)`; with a sample (FOLDS, n, K (K - 1) / 2), the
        estimates of its folds.
    """
    pullback = gradients.at(inputs, labels)
    scale = None
    if normalize:
        norms = sum(_norms(own) for _, own in pullback.layers())
        assert isinstance(norms, torch.Tensor)
        scale = torch.where(norms > 0, 1 / norms, 0)
    n_folds = FOLDS if sample else 1
    n, n_tasks = labels.shape
    total = inputs.new_zeros(n_folds, n, n_tasks * (n_tasks - 1) // 2, dtype=gradients.dtype)
    for layer, own in pullback.layers(scale):
        if sample is None or layer.name not in sample.of_layer:
            _add_distances(total, own)
            continue
        for fold, index in enumerate(sample.of_layer[layer.name]):
            if len(index):
                for samples in _samples_at_once(own, len(index)):
                    values = own.of_coordinates(samples, index.to(inputs.device))
                    total[fold, samples] += pairwise_l1(values) * (sample.factor * FOLDS)
    return total if sample else total[0]


def pairwise_l1(x: torch.Tensor) -> torch.Tensor:
    """(n, K (K - 1) / 2) L1 distances of the K rows of each of n matrices (n, K, m)."""
    if x.is_cuda:
        a, b = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        return torch.cdist(x, x, p=1)[:, a, b]
    # pdist takes each pair once and works in vector registers; cdist does neither: 17 times slower.
    return torch.stack([torch.pdist(rows.contiguous(), 1) for rows in x])


def squared_form(pairs: torch.Tensor, n_tasks: int) -> torch.Tensor:
    """(..., K, K) symmetric with zero diagonal, from (..., K (K - 1) / 2)."""
    a, b = torch.triu_indices(n_tasks, n_tasks, 1, device=pairs.device)
    full = pairs.new_zeros(*pairs.shape[:-1], n_tasks, n_tasks)
    full[..., a, b] = pairs
    full[..., b, a] = pairs
    return full


def _add_distances(total: torch.Tensor, own: LayerGradients) -> None:
    short = own.equidistant()
    if short is not None:
        for start in range(0, short.shape[2], _width(own)):
            total += pairwise_l1(short[:, :, start : start + _width(own)])
        return
    for samples, start, stop in _blocks(own):
        total[:, samples] += pairwise_l1(own.of_rows(samples, start, stop))


def _norms(own: LayerGradients) -> torch.Tensor:
    """(n, K) L1 norms."""
    short = own.equidistant()
    if short is not None:
        return short.abs().sum(dim=2)
    total = torch.zeros(())
    pieces = []
    for samples in _samples_at_once(own, _rows(own) * own.row_size):
        total = torch.zeros(())
        for start in range(0, own.n_rows, _rows(own)):
            block = own.of_rows(samples, start, min(start + _rows(own), own.n_rows))
            total = total + block.abs().sum(dim=2)
        pieces.append(total)
    return torch.cat(pieces)


def _width(own: LayerGradients) -> int:
    """Coordinates of which all tasks' values fit into the cache."""
    return max(64, CACHE // (4 * own.shape[1]))


def _rows(own: LayerGradients) -> int:
    return max(1, min(own.n_rows, _width(own) // own.row_size))


def _samples_at_once(own: LayerGradients, width: int) -> Iterator[slice]:
    """One sample after the other, unless several fit into the cache."""
    step = max(1, _width(own) // max(1, width))
    for start in range(0, own.shape[0], step):
        yield slice(start, min(start + step, own.shape[0]))


def _blocks(own: LayerGradients) -> Iterator[tuple[slice, int, int]]:
    n_rows = _rows(own)
    for samples in _samples_at_once(own, n_rows * own.row_size):
        for start in range(0, own.n_rows, n_rows):
            yield samples, start, min(start + n_rows, own.n_rows)
