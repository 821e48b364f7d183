"""Distances of tasks by their gradients at the same sample (Thakur et al., arXiv 2412.04413)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.gradients.layers import Layer
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.seeds import Stream, generator

CACHE = 2**20
"""Bytes of all tasks' gradients that are compared at a time: pairs of rows are then read from the cache. Four times as
fast as from memory at 100 tasks."""

CACHE_ON_GPU = 2**27
"""The same for a GPU: so many that its processors are busy with one block."""

COORDINATE_FOLDS = 8
"""Random coordinates are dealt to so many folds, whose scatter tells the error of the estimate."""


@dataclass(frozen=True)
class CoordinateSample:
    """Random coordinates of some layers, drawn without replacement.

    Attributes:
        of_layer: by layer, the sorted coordinates of each of the `COORDINATE_FOLDS` folds.
        factor: the number of coordinates over the number of those that were drawn.
    """

    of_layer: dict[str, list[torch.Tensor]]
    factor: float

    @classmethod
    def draw(cls, layers: list[Layer], n: int, seed: int, *, closed: bool = False) -> CoordinateSample | None:
        """Draw n coordinates of the layers whose distances have no closed form.

        Args:
            layers: whose gradients are compared.
            n: coordinates of all these layers together.
            seed: of the run.
            closed: draw from the layers with a closed form, too.

        Returns:
            The sample; None where there are no more than n coordinates, so that all of them are taken.
        """
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
            of_layer[layer.name] = [
                torch.from_numpy(np.sort(fold[(fold >= start) & (fold < stop)]) - start)
                for fold in np.array_split(chosen, COORDINATE_FOLDS)
            ]
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
    """Compute the distances |g_ia - g_ib|_1 of all pairs of tasks at every sample of a micro-batch.

    They are those of the sample-wise local optima one gradient step away, with the learning rate, which is a common
    factor, left out. Where task a or b has no label the value is meaningless and must be masked.

    Args:
        gradients: the engine.
        inputs: (n, ...) raw inputs.
        labels: (n, K) floating point, NaN for missing.
        normalize: scale each g_it to unit L1 norm over the chosen parameters (a zero gradient stays zero).
        sample: estimate the distances of layers without a closed form from these coordinates.

    Returns:
        (n, K (K - 1) / 2) in the order of `torch.triu_indices(K, K, 1)`; with a sample
        (COORDINATE_FOLDS, n, K (K - 1) / 2), the estimates of its folds.
    """
    pullback = gradients.at(inputs, labels)
    scale = None
    if normalize:
        norms = sum(_norms(layer_gradients) for _, layer_gradients in pullback.layers())
        assert isinstance(norms, torch.Tensor)
        scale = torch.where(norms > 0, 1 / norms, 0)
    n_folds = COORDINATE_FOLDS if sample else 1
    n, n_tasks = labels.shape
    total = inputs.new_zeros(n_folds, n, n_tasks * (n_tasks - 1) // 2, dtype=gradients.dtype)
    for layer, layer_gradients in pullback.layers(scale):
        if sample is None or layer.name not in sample.of_layer:
            _add_distances(total, layer_gradients)
            continue
        for fold, index in enumerate(sample.of_layer[layer.name]):
            if len(index):
                for samples in _samples_at_once(layer_gradients, len(index)):
                    values = layer_gradients.of_coordinates(samples, index.to(inputs.device))
                    total[fold, samples] += pairwise_l1(values) * (sample.factor * COORDINATE_FOLDS)
    return total if sample else total[0]


def pairwise_l1(x: torch.Tensor) -> torch.Tensor:
    """Compute the L1 distances (n, K (K - 1) / 2) of the K rows of each of n matrices (n, K, m)."""
    if x.is_cuda:
        kernel = gpu_kernel()
        if kernel is not None:
            return kernel(x)
        a, b = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
        return torch.cdist(x, x, p=1)[:, a, b]
    # pdist takes each pair once and works in vector registers; cdist does neither: 17 times slower.
    return torch.stack([torch.pdist(rows.contiguous(), 1) for rows in x])


@cache
def gpu_kernel() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return the kernel of distances on GPUs; None where it cannot be built: without Triton, or a C compiler for it."""
    try:
        from stg_ray.affinities import l1_kernel

        l1_kernel.pairwise_l1(torch.zeros(1, 2, 1, device="cuda"))
    except Exception:  # whatever it is that is missing, torch's own distances are the same
        return None
    return l1_kernel.pairwise_l1


def squared_form(pairs: torch.Tensor, n_tasks: int) -> torch.Tensor:
    """Return the symmetric matrices (..., K, K), zero on the diagonal, of pairs (..., K (K - 1) / 2)."""
    a, b = torch.triu_indices(n_tasks, n_tasks, 1, device=pairs.device)
    full = pairs.new_zeros(*pairs.shape[:-1], n_tasks, n_tasks)
    full[..., a, b] = pairs
    full[..., b, a] = pairs
    return full


def _add_distances(total: torch.Tensor, gradients: LayerGradients) -> None:
    """Add a layer's distances to `total` (F, n, K (K - 1) / 2), the same to every fold."""
    short = gradients.equidistant()
    if short is not None:
        width = _width(gradients)
        for start in range(0, short.shape[2], width):
            total += pairwise_l1(short[:, :, start : start + width])
        return
    for samples, start, stop in _blocks(gradients):
        total[:, samples] += pairwise_l1(gradients.of_rows(samples, start, stop))


def _norms(gradients: LayerGradients) -> torch.Tensor:
    """Compute the L1 norms (n, K)."""
    short = gradients.equidistant()
    if short is not None:
        return short.abs().sum(dim=2)
    n_rows = _rows(gradients)
    pieces = []
    for samples in _samples_at_once(gradients, n_rows * gradients.row_size):
        total = torch.zeros(())
        for start in range(0, gradients.n_rows, n_rows):
            block = gradients.of_rows(samples, start, min(start + n_rows, gradients.n_rows))
            total = total + block.abs().sum(dim=2)
        pieces.append(total)
    return torch.cat(pieces)


def _width(gradients: LayerGradients) -> int:
    """Return the number of coordinates of which all tasks' values fit into the cache."""
    cache = CACHE_ON_GPU if gradients.is_cuda else CACHE
    return max(64, cache // (4 * gradients.shape[1]))


def _rows(gradients: LayerGradients) -> int:
    return max(1, min(gradients.n_rows, _width(gradients) // gradients.row_size))


def _samples_at_once(gradients: LayerGradients, width: int) -> Iterator[slice]:
    """Yield one sample after the other, or several where their `width` coordinates fit into the cache."""
    step = max(1, _width(gradients) // max(1, width))
    for start in range(0, gradients.shape[0], step):
        yield slice(start, min(start + step, gradients.shape[0]))


def _blocks(gradients: LayerGradients) -> Iterator[tuple[slice, int, int]]:
    n_rows = _rows(gradients)
    for samples in _samples_at_once(gradients, n_rows * gradients.row_size):
        for start in range(0, gradients.n_rows, n_rows):
            yield samples, start, min(start + n_rows, gradients.n_rows)
