"""Random projections of per-sample gradients, and the curvature of the losses along them.

A network is linear in its shared parameters to first order, theta -> m_it + g_it . (theta - theta_0), with m the margin
of sample i for task t: the logit of its label, log p / (1 - p) of the true class, or the output of a regression. Every
classification loss is log(1 + exp(-m)) then, and that of a regression (m - y)^2 / 2. So with r = -dl/dm and h =
d2l/dm2, a step theta_0 + R w along d random directions R changes the loss of a sample by

    - r x . w + h (x . w)^2 / 2,   x = R^T dm/dtheta,

and the gradient of the loss is -r dm/dtheta: margins need no backward pass of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from stg_ray.affinities.gradients.layers import Layer
from stg_ray.affinities.gradients.per_sample import Pullback
from stg_ray.models import TaskNetwork
from stg_ray.seeds import Stream, generator

BLOCK = 2**16
"""Coordinates whose directions are drawn at once; of layers with longer rows, one row."""

LEAST = 1e-6
"""Probabilities nearer to 0 or 1, and smaller errors of regressions, count as this near: in single precision nothing is
left of them, and such samples have next to no curvature."""


class Projection:
    """Random signs over the root of their number d, of every coordinate of some layers (Achlioptas 2003).

    Inner products of gradients are those of their projections, on average.

    Args:
        layers: of the engine.
        dimension: d.
        seed: of the run.
        dtype: of the projections.
    """

    def __init__(self, layers: list[Layer], dimension: int, seed: int, dtype: torch.dtype) -> None:
        self.number = {layer.name: number for number, layer in enumerate(layers)}
        self.dimension, self.seed, self.dtype = dimension, seed, dtype

    def blocks(self, layer: Layer) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield blocks of a layer: first row, last row + 1, and directions (coordinates, d) of its coordinates."""
        step = max(1, BLOCK // layer.row_size)
        for block, start in enumerate(range(0, layer.n_rows, step)):
            stop = min(start + step, layer.n_rows)
            rng = generator(Stream.PROJECTION, self.seed, self.number[layer.name], block)
            signs = rng.integers(0, 2, ((stop - start) * layer.row_size, self.dimension), dtype=np.int8)
            yield start, stop, (2 * torch.from_numpy(signs) - 1).to(self.dtype) / self.dimension**0.5

    def of(self, pullback: Pullback, scale: torch.Tensor) -> torch.Tensor:
        """Project the gradients of all layers, times `scale` (n, K): (n, K, d)."""
        total = torch.zeros((), device=scale.device)
        for layer, gradients in pullback.layers(scale):
            for start, stop, directions in self.blocks(layer):
                total = total + gradients.projected(directions.to(scale.device), start, stop)
        return total


@torch.no_grad()
def curvature_scale(network: TaskNetwork, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute sqrt(h) / r (n, K): the gradient of a loss times this has outer products that add up to its curvature.

    Args:
        network: of K tasks.
        features: (n, d) of its trunk.
        labels: (n, K) floating point, NaN where missing: there the scale is 1.
    """
    layout = network.layout
    outputs, target = network.heads(features), torch.nan_to_num(labels).to(features.dtype)
    confidence = torch.nan_to_num(layout.confidences(outputs, labels), nan=0.5).clamp(LEAST, 1 - LEAST)
    scale = (confidence / (layout.weights(target) * (1 - confidence))).sqrt()
    residual = (2 * layout.losses(outputs, labels)).sqrt()  # of regressions
    scale[:, layout.regression] = 1 / residual.clamp(min=LEAST)[:, layout.regression]
    return torch.where(torch.isnan(labels), 1, scale)
