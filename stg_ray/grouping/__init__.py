"""From affinities to groups. A new clusterer: a class in a file of its own, as `base.Clusterer` describes it, an entry
in `stage.CLUSTERERS`, and its name in `config.GroupingConfig.method`."""

from stg_ray.grouping.graph import TaskGraph, task_graph
from stg_ray.grouping.stage import group, group_tasks

__all__ = ["TaskGraph", "group", "group_tasks", "task_graph"]
