"""Trunks, heads, and the network of some tasks. A new trunk: a function in `trunks.py` and its name in `TRUNKS`."""

from stg_ray.models.files import load_weights, save_network
from stg_ray.models.network import TaskNetwork, build_network
from stg_ray.models.outputs import OutputLayout

__all__ = ["OutputLayout", "TaskNetwork", "build_network", "load_weights", "save_network"]
