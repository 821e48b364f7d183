"""The Ray actor of the affinity stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from stg_ray.affinities.base import Estimator
from stg_ray.affinities.estimators import estimator_of
from stg_ray.affinities.source import RunSource, Source
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.imports import work_in


def partial_name(method: str, number: int) -> str:
    """Return the file, relative to the run directory, that holds the sums of a method's unit."""
    return f"affinity/partials/{method}/{number:05d}.arrow"


class AffinityActor:
    """Builds each estimator once, then computes the sums of the units that it is given.

    Args:
        run: the run directory, a path or a URI.
        config: the configuration as a dictionary.
        directory: in which the program was started.
    """

    def __init__(self, run: str, config: dict[str, Any], directory: str = ".") -> None:
        work_in(directory)
        torch.set_num_threads(1)
        self.run = Storage(run)
        self.config = Config.model_validate(config)
        self.source: Source | None = None
        self.estimators: dict[str, Estimator] = {}

    def up(self) -> None:
        """Return as soon as the actor runs."""

    def load(self, weights: Mapping[str, torch.Tensor] | None) -> Source:
        """Build the source of the estimators, with the weights of the network at which tasks are compared."""
        import ray

        # A node's GPUs may be seen by an actor that was given none.
        device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        self.source = RunSource(self.run, self.config, weights, device)
        return self.source

    def partial(self, method: str, number: int, weights: list[Any]) -> None:
        """Compute and write the sums of a unit. Doing it twice, after a retry, gives the same file.

        Args:
            method: the name of the affinity.
            number: of the unit.
            weights: at most one reference to them in the object store, looked up once.
        """
        import ray

        source = self.source or self.load(ray.get(weights[0]) if weights else None)
        if method not in self.estimators:
            self.estimators[method] = estimator_of(method, source.settings, source.index)(source)
        self.run.write_arrays(partial_name(method, number), self.estimators[method].partial(number))
