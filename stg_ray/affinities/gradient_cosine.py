"""Cosine of the tasks' mean gradients at the all-task network, whose sign tells whether two tasks conflict there.

cos(a, b) = g_a . g_b / (|g_a| |g_b|), with g_t = sum_i w_it g_it the gradient of task t's loss with respect to shared
parameters (Du et al. 2018, arXiv 1812.02224; Yu et al. 2020, arXiv 2001.06782), and weights w that give every class of
a task the same part, so that the rarer class of a task is not drowned by the other.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.summed import SummedGradients


class GradientCosine(SummedGradients):
    """The cosine of the tasks' mean gradients, a block of coordinates at a time."""

    about: ClassVar[str] = (
        "Cosine of the tasks' mean gradients at the profiled network: positive where a step on either lowers the loss "
        "of the other."
    )

    @staticmethod
    def sums(gradients: LayerGradients, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute sum_i w_it g_it (K, coordinates) of a micro-batch."""
        return gradients.weighted_sum(weights, start, stop)

    @staticmethod
    def cosine(products: np.ndarray) -> np.ndarray:
        """Compute the cosines; NaN for a task whose gradient is 0, as that of one without labels is."""
        norms = np.sqrt(np.maximum(np.diag(products), 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines: np.ndarray = np.clip(products / np.outer(norms, norms), -1, 1)
        return cosines
