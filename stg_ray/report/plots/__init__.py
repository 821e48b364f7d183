"""Figures of a run for notebooks, in Plotly: `sr.plot.affinity(run)` and so on. The page has charts of its own.

Each takes a run (of `sr.run` or `sr.Run.from_path`) or its directory, and returns a figure; an InputError says where
the run has nothing to show.

Example:
    >>> import stg_ray as sr
    >>> figure = sr.plot.affinity("runs/tiny", "landscape")
    >>> figure.data[0].type, len(figure.data[0].y)
    ('heatmap', 4)
"""

from __future__ import annotations

from stg_ray.report.plots.of_data import data_map, regions, training
from stg_ray.report.plots.of_groups import affinity, graph, memberships, number_of_groups
from stg_ray.report.plots.of_plans import plans, search, tasks

__all__ = [
    "affinity",
    "data_map",
    "graph",
    "memberships",
    "number_of_groups",
    "plans",
    "regions",
    "search",
    "tasks",
    "training",
]
