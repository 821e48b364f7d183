"""Weights of networks as files that are read without running code from them."""

from __future__ import annotations

import io

import torch
from torch import nn

from stg_ray.storage import Storage


def save_network(storage: Storage, name: str, network: nn.Module) -> None:
    """The weights (and normalisation) of a network."""
    buffer = io.BytesIO()
    torch.save({key: value.cpu() for key, value in network.state_dict().items()}, buffer)
    storage.write_bytes(name, buffer.getvalue())


def load_weights(storage: Storage, name: str) -> dict[str, torch.Tensor]:
    return torch.load(io.BytesIO(storage.read_bytes(name)), weights_only=True, map_location="cpu")
