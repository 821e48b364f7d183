"""Cosine of the tasks' head weights: which features of the shared trunk the profiled network uses for both.

Of two tasks with one output each it is the cosine of their weight vectors, without biases. The weights of a multi-class
task, one vector for each class, are centred at their mean over classes, which changes no probability. With them it is
the root of the RV coefficient |W_a W_b^T|_F^2 / (|W_a W_a^T|_F |W_b W_b^T|_F) (Robert and Escoufier 1976), which does
not depend on the order of the classes, and is the absolute cosine where there is one output.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np

from stg_ray.affinities.base import Estimator, Need, Partial, without_errors
from stg_ray.affinities.gradients.start import has_one_head
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork
from stg_ray.tasks import Task


class HeadCosine(Estimator):
    """The cosine of the heads' weights at the network; it looks at no samples."""

    kind: ClassVar[Kind] = "affinity"
    about: ClassVar[str] = "Cosine of the tasks' head weights: large where both read the same features of the trunk."
    needs: ClassVar[frozenset[Need]] = frozenset({"network", "trained_heads"})
    units_are_parts: ClassVar[bool] = False

    def partial(self, number: int) -> Partial:
        """Return the cosines `values` (K, K).

        Raises:
            InputError: all tasks have one copied head.
        """
        del number  # there is one unit
        network = self.source.network()
        if len(self.source.index.tasks) > 1 and has_one_head(network):
            raise InputError(
                "head_cosine compares the tasks' heads, and all tasks have the same one (affinity.start): take the "
                "profiled network, or a checkpoint with its heads"
            )
        return {"values": head_cosine(network), "samples": np.array(0)}

    @classmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Return the cosines; they have no standard errors (NaN)."""
        (partial,) = partials
        return without_errors(partial["values"], tasks, cls.kind)


def head_cosine(network: TaskNetwork) -> np.ndarray:
    """Compute the cosines (K, K) of the heads' weights in float64; NaN for a task whose weights are 0."""
    layout = network.layout
    weights = network.heads.weight.detach().double().cpu().numpy().copy()
    for task, columns in zip(layout.tasks, layout.columns, strict=True):
        if task.kind == "multiclass":
            weights[columns] -= weights[columns].mean(axis=0)
    gram = weights @ weights.T
    starts = [columns.start for columns in layout.columns]
    squares = np.add.reduceat(np.add.reduceat(gram**2, starts, axis=0), starts, axis=1)
    single = np.array([task.n_outputs == 1 for task in layout.tasks])
    sign = np.where(np.outer(single, single), np.sign(gram[np.ix_(starts, starts)]), 1)
    norms = np.sqrt(np.diag(squares))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines: np.ndarray = np.clip(sign * np.sqrt(squares / np.outer(norms, norms)), -1, 1)
    return cosines
