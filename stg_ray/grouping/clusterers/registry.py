"""The clusterers by name."""

from __future__ import annotations

import importlib
import importlib.util

from stg_ray.errors import InputError, unknown
from stg_ray.grouping.clusterers.agglomerative import Agglomerative
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.fuzzy import FuzzyCMeans
from stg_ray.grouping.clusterers.gat import GraphAttention
from stg_ray.grouping.clusterers.kmeans import KMeansGrouping
from stg_ray.grouping.clusterers.louvain import Louvain
from stg_ray.grouping.clusterers.mixture import Mixture
from stg_ray.grouping.clusterers.sdp import MAX_TASKS, Semidefinite
from stg_ray.grouping.clusterers.spectral import Spectral

CLUSTERERS: dict[str, type[Clusterer]] = {
    "spectral": Spectral,
    "louvain": Louvain,
    "agglomerative": Agglomerative,
    "kmeans": KMeansGrouping,
    "fuzzy_c_means": FuzzyCMeans,
    "mixture": Mixture,
    "gat": GraphAttention,
    "sdp": Semidefinite,
}

METHODS = (*CLUSTERERS, "points", "budget")

EXTRAS = {"gat": ("torch_geometric", "torch-geometric"), "sdp": ("scs", "scs")}
"""Module and package that a method needs beyond the core."""


def check_method(method: str, n_tasks: int) -> None:
    """Refuse a method that does not exist, whose package is not installed, or that so many tasks are too many for.

    Raises:
        InputError: any of these.
    """
    if method not in METHODS:
        raise InputError(unknown(method, METHODS, "grouping method"))
    module, package = EXTRAS.get(method, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        raise InputError(f"grouping.method={method} needs {package}: pip install 'stg_ray[{method}]'")
    if method == "sdp" and n_tasks > MAX_TASKS:
        raise InputError(f"grouping.method=sdp takes up to {MAX_TASKS} tasks, and there are {n_tasks}: use spectral")
