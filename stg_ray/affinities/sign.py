"""Agreement of the signs of the tasks' per-sample gradients: for tasks that share no samples, too.

S_t = sum_i w_it sign(g_it), the density of sample-wise local optima of GradSign (Zhang and Jia 2022, arXiv 2110.08616),
with weights w that give every class of a task the same part. The affinity of two tasks is the cosine of S_a and S_b
centred at the mean over tasks.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from stg_ray.affinities.gradients.layer_gradients import LayerGradients
from stg_ray.affinities.summed import SummedGradients


class SignAffinity(SummedGradients):
    """The agreement of the signs of the tasks' gradients, a block of coordinates at a time."""

    about: ClassVar[str] = (
        "Agreement of the signs of the tasks' per-sample gradients: large where both pull the shared parameters the "
        "same way; defined for tasks without common samples."
    )

    @staticmethod
    def sums(gradients: LayerGradients, weights: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Compute S_t = sum_i w_it sign(g_it) (K, coordinates) of a micro-batch."""
        return gradients.signed_sum(weights, start, stop)

    @staticmethod
    def cosine(products: np.ndarray) -> np.ndarray:
        """Compute the cosines of the centred S."""
        return centred_cosine(products)


def centred_cosine(products: np.ndarray) -> np.ndarray:
    """Compute the cosines (K, K) of vectors centred at their mean, from their inner products (K, K).

    They are NaN for a vector that is the mean, and for pairs whose product is NaN.
    """
    return np.asarray(np.clip(cosines_from_mean(products), -1, 1))


def cosines_from_mean(products: np.ndarray, noise: np.ndarray | float = 0) -> np.ndarray:
    """Compute the same of estimates of the products, which are not quite those of vectors: they may be beyond 1.

    Args:
        products: (K, K) estimates.
        noise: (K,) or one number: the square of a centred norm counts as no less.
    """
    means = np.nanmean(products, axis=0)
    centred = products - means - means[:, None] + np.nanmean(products)
    norms = np.sqrt(np.maximum(np.diag(centred), noise))
    norms[norms <= 1e-9 * np.sqrt(np.nanmax(np.abs(np.diag(products))))] = np.nan
    return np.asarray(centred / np.outer(norms, norms))
