"""Groups from affinities: task graph, number of groups, clustering, certainty, and selection under a budget.

To add a clusterer, see `clusterers/registry.py`.
"""

from stg_ray.grouping.graph import TaskGraph, task_graph
from stg_ray.grouping.group_tasks import group_tasks
from stg_ray.grouping.selection import Conditions, Selection, select, select_measured
from stg_ray.grouping.stage import run

__all__ = [
    "Conditions",
    "Selection",
    "TaskGraph",
    "group_tasks",
    "run",
    "select",
    "select_measured",
    "task_graph",
]
