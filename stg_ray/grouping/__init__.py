"""Groups from affinities: task graph, number of groups, clustering, certainty, and selection under a budget.

To add a clusterer, see `clusterers/registry.py`.
"""

from stg_ray.grouping.graph import TaskGraph, task_graph
from stg_ray.grouping.group_tasks import group_tasks
from stg_ray.grouping.selection import Conditions, Selection, select, select_measured
from stg_ray.grouping.stage import add_tasks, groups_of, run

__all__ = [
    "Conditions",
    "Selection",
    "TaskGraph",
    "add_tasks",
    "group_tasks",
    "groups_of",
    "run",
    "select",
    "select_measured",
    "task_graph",
]
