"""From affinities to groups. A new clusterer: a class in a file of its own, as `base.Clusterer` describes it, an entry
in `clusterers.CLUSTERERS`, and its name in `config.GroupingConfig.method`."""

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
