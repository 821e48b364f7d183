"""stg_ray: which tasks should share a network?

import stg_ray as sr
run = sr.run("digits", out="runs/digits")
"""

from stg_ray.config import Config
from stg_ray.config_loading import load_config
from stg_ray.data_map import DataMapState
from stg_ray.data_map_files import DataMap
from stg_ray.errors import InputError, StgRayError
from stg_ray.groups import Groups
from stg_ray.point_histogram import PointHistogram
from stg_ray.task_matrix import TaskMatrix
from stg_ray.tasks import Task, TaskSet

__version__ = "0.1.0"

__all__ = [
    "Config",
    "DataMap",
    "DataMapState",
    "Groups",
    "InputError",
    "PointHistogram",
    "StgRayError",
    "Task",
    "TaskMatrix",
    "TaskSet",
    "affinity",
    "confidence_correlation",
    "data_map_distance",
    "group",
    "load",
    "load_config",
    "run",
]


def __getattr__(name: str) -> object:
    """The verbs load torch and Ray, which a look at a task set does not need: they are imported when first used."""
    if name == "run":
        from stg_ray.pipeline import run

        return run
    if name == "affinity":
        from stg_ray.affinities.in_memory import affinity

        return affinity
    if name == "load":
        from stg_ray.serving import load

        return load
    if name == "group":
        from stg_ray.grouping import group_tasks

        return group_tasks
    if name == "data_map_distance":
        from stg_ray.affinities.data_map import data_map_distance

        return data_map_distance
    if name == "confidence_correlation":
        from stg_ray.affinities.confidence import confidence_correlation

        return confidence_correlation
    raise AttributeError(f"module 'stg_ray' has no attribute {name!r}")
