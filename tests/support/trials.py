"""A network to train, for the tests of trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.models import load_weights
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network

SPEC = NetworkSpec("ours", 1, ("block 0 task 0", "block 0 task 2", "block 1 task 1"), seed=5, draws=5, epochs=6)


class Stopped(Exception):
    """The end of a training that is interrupted."""


def stop_after(epoch: int) -> Callable[[int, object], None]:
    """Reports of a training that end it after an epoch."""

    def report(done: int, _scores: object) -> None:
        if done == epoch:
            raise Stopped

    return report


def trained(run: Storage, config: Config, spec: NetworkSpec) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a network, and what is known of it."""
    train_network(run, config, spec, device="cpu", report=lambda *_: None)
    folder = network_folder(spec, config)
    return load_weights(run, f"{folder}/network.pt"), run.read_json(f"{folder}/network.json")
