"""The clusterers by name."""

from __future__ import annotations

import importlib
import importlib.util

from stg_ray.config_data import unknown
from stg_ray.errors import InputError
from stg_ray.grouping.agglomerative import Agglomerative
from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.fuzzy import FuzzyCMeans
from stg_ray.grouping.gat import GraphAttention
from stg_ray.grouping.kmeans import KMeansGrouping
from stg_ray.grouping.louvain import Louvain
from stg_ray.grouping.mixture import Mixture
from stg_ray.grouping.spectral import Spectral

CLUSTERERS: dict[str, type[Clusterer]] = {
    "spectral": Spectral,
    "louvain": Louvain,
    "agglomerative": Agglomerative,
    "kmeans": KMeansGrouping,
    "fuzzy_c_means": FuzzyCMeans,
    "mixture": Mixture,
    "gat": GraphAttention,
}

METHODS = (*CLUSTERERS, "points", "budget")

EXTRAS = {"gat": ("torch_geometric", "torch-geometric")}
"""Module and package that a method needs beyond the core."""


def check_method(method: str) -> None:
    """Refuse a method that does not exist, or whose package is not installed.

    Raises:
        InputError: either.
    """
    if method not in METHODS:
        raise InputError(unknown(method, METHODS, "grouping method"))
    module, package = EXTRAS.get(method, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        raise InputError(f"grouping.method={method} needs {package}: pip install 'stg_ray[{method}]'")
