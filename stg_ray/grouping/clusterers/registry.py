"""The clusterers by name.

To add one: write a class in a file of its own that derives from `base.Clusterer[TaskGraph]` and computes `memberships`
(see `agglomerative.py`); enter it in `CLUSTERERS` here; add its name to `GroupingMethod` in config/methods.py,
and, if it needs a package beyond the core, to `EXTRAS` here and to the extras in pyproject.toml. Tests hold these
equal, and run every clusterer on planted groups, hard cases and permuted tasks.
"""

from __future__ import annotations

import importlib
import importlib.util

from stg_ray.config import GROUPING_METHODS
from stg_ray.errors import InputError
from stg_ray.grouping.clusterers.agglomerative import Agglomerative
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.fuzzy import FuzzyCMeans
from stg_ray.grouping.clusterers.gat import GraphAttention
from stg_ray.grouping.clusterers.kmeans import KMeansGrouping
from stg_ray.grouping.clusterers.louvain import Louvain
from stg_ray.grouping.clusterers.mixture import Mixture
from stg_ray.grouping.clusterers.sdp import MAX_TASKS, Semidefinite
from stg_ray.grouping.clusterers.spectral import Spectral
from stg_ray.grouping.graph import TaskGraph

CLUSTERERS: dict[str, type[Clusterer[TaskGraph]]] = {
    "spectral": Spectral,
    "louvain": Louvain,
    "agglomerative": Agglomerative,
    "kmeans": KMeansGrouping,
    "fuzzy_c_means": FuzzyCMeans,
    "mixture": Mixture,
    "gat": GraphAttention,
    "sdp": Semidefinite,
}

METHODS = (*CLUSTERERS, "points", "budget", "auxiliary")
"""All of `grouping.method`: the clusterers of task graphs, of points, the selection under a budget, and main tasks."""

EXTRAS = {"gat": ("torch_geometric", "torch-geometric"), "sdp": ("scs", "scs")}
"""Module and package that a method needs beyond the core; each is an extra of the method's name in pyproject.toml."""


def clusterer_of(method: str | type[Clusterer[TaskGraph]]) -> type[Clusterer[TaskGraph]]:
    """Return the clusterer of task graphs by its name, that of an installed package, `module:Class`, or the class.

    Raises:
        InputError: there is none, its class cannot be imported, or is no clusterer.
    """
    if not isinstance(method, str):
        return GROUPING_METHODS.checked(method, name_of(method), Clusterer)  # type: ignore[type-abstract]
    return CLUSTERERS.get(method) or GROUPING_METHODS.load(method, Clusterer)  # type: ignore[type-abstract]


def name_of(method: str | type[Clusterer[TaskGraph]]) -> str:
    """Return the name of a method, `module:Class` of a class."""
    if isinstance(method, str):
        return method
    return f"{method.__module__}:{method.__qualname__}" if isinstance(method, type) else repr(method)


def check_method(method: str | type[Clusterer[TaskGraph]], n_tasks: int) -> None:
    """Check a method before anything runs.

    Raises:
        InputError: it is unknown, its package is not installed, its class cannot be imported, or there are more tasks
            than it takes.
    """
    if not isinstance(method, str) or method not in METHODS:
        clusterer_of(method)
        return
    module, package = EXTRAS.get(method, (None, ""))
    if module is not None and importlib.util.find_spec(module) is None:
        raise InputError(f"grouping.method={method} needs {package}: pip install 'stg_ray[{method}]'")
    if method == "sdp" and n_tasks > MAX_TASKS:
        raise InputError(f"grouping.method=sdp takes up to {MAX_TASKS} tasks, and there are {n_tasks}: use spectral")
