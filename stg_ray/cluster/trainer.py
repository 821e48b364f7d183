"""Ray Train's trainer, without the processes that a training here has no use for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stg_ray.cluster.keepers import is_running

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

OF_DATASETS = "DatasetsCallback"
"""Starts an actor that hands out Ray Data sets; rows here are files of the run directory."""

OF_CLUSTERS = "PlacementGroupCleanerCallback"
"""Starts an actor that gives resources back when the controller is lost: with a Ray of this program's own they end."""

REQUESTS = ("_send_resource_request", "_maybe_send_resource_request", "_cancel_resource_request")
"""Of a scaling policy, to an actor that asks an autoscaler for nodes: a Ray of this program's own has none."""


def torch_trainer(*args: Any, **settings: Any) -> TorchTrainer:
    """Return Ray Train's `TorchTrainer` of these arguments.

    Each process that it starts takes a second or two of a CPU to begin, and 200 MB. Three of them are not started, as
    far as Ray has them.
    """
    from ray.train.torch import TorchTrainer

    unused = {OF_DATASETS, OF_CLUSTERS} if is_running() else {OF_DATASETS}

    class Trainer(TorchTrainer):  # type: ignore[misc]  # Ray's types are skipped, so its classes are Any
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ not in unused]

        def _initialize_and_run_controller(self, **arguments: Any) -> Any:
            policy = arguments.get("scaling_policy")
            if is_running() and type(policy).__name__ == "FixedScalingPolicy":  # an elastic one asks what there is
                vars(policy).update(dict.fromkeys(REQUESTS, _nothing))
            return super()._initialize_and_run_controller(**arguments)

    return Trainer(*args, **settings)


def _nothing(*_: object) -> None:
    """Do nothing, in place of a request."""
