"""Trunks, heads, and the network of a group of tasks. A new trunk is a function in `trunks.py`, named in `TRUNKS`."""

from stg_ray.models.branches import BranchedNetwork, split_layers, split_network
from stg_ray.models.files import as_safetensors, load_weights, save_network
from stg_ray.models.network import AsGiven, TaskNetwork, build_network
from stg_ray.models.outputs import OutputLayout

__all__ = [
    "AsGiven",
    "BranchedNetwork",
    "OutputLayout",
    "TaskNetwork",
    "as_safetensors",
    "build_network",
    "load_weights",
    "save_network",
    "split_layers",
    "split_network",
]
