"""stg_ray: which tasks should share a network?

    import stg_ray as sr

    run = sr.run("digits", out="runs/digits")   # a preset, a YAML file, a dictionary, a sr.TaskSet of yours
    run.groups, run.results, run.summary.verdict
    run.predictor().predict(images)             # likewise sr.load("runs/digits")

`run` takes the whole path on a local Ray or a cluster; `affinity` compares tasks at a trained model and `group` groups
them, both in memory. `TaskGrouper` is all of it as a scikit-learn estimator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stg_ray.affinities.confidence import confidence_correlation as confidence_correlation
    from stg_ray.affinities.data_map import data_map_distance as data_map_distance
    from stg_ray.artifacts.groups import Groups as Groups
    from stg_ray.artifacts.task_matrix import TaskMatrix as TaskMatrix
    from stg_ray.config import Config as Config
    from stg_ray.config.loading import load_config as load_config
    from stg_ray.data_maps.files import DataMap as DataMap
    from stg_ray.data_maps.histogram import PointHistogram as PointHistogram
    from stg_ray.data_maps.state import DataMapState as DataMapState
    from stg_ray.errors import InputError as InputError
    from stg_ray.errors import StgRayError as StgRayError
    from stg_ray.estimator import TaskGrouper as TaskGrouper
    from stg_ray.grouping.group_tasks import group_tasks as group
    from stg_ray.grouping.new_tasks import add_new_tasks as add_tasks
    from stg_ray.in_memory import affinity as affinity
    from stg_ray.main_task.auxiliary import auxiliary as auxiliary
    from stg_ray.main_task.serving import load_auxiliary as load_auxiliary
    from stg_ray.pipeline import run as run
    from stg_ray.report import plots as plot
    from stg_ray.retraining.search.search import GroupSearch as GroupSearch
    from stg_ray.runs import Run as Run
    from stg_ray.serving import load as load
    from stg_ray.tasks import Task as Task
    from stg_ray.tasks import TaskSet as TaskSet

__version__ = "0.2.0.dev0"

_HOMES = {
    "Config": "stg_ray.config:Config",
    "DataMap": "stg_ray.data_maps.files:DataMap",
    "DataMapState": "stg_ray.data_maps.state:DataMapState",
    "GroupSearch": "stg_ray.retraining.search.search:GroupSearch",
    "Groups": "stg_ray.artifacts.groups:Groups",
    "InputError": "stg_ray.errors:InputError",
    "PointHistogram": "stg_ray.data_maps.histogram:PointHistogram",
    "Run": "stg_ray.runs:Run",
    "StgRayError": "stg_ray.errors:StgRayError",
    "Task": "stg_ray.tasks:Task",
    "TaskGrouper": "stg_ray.estimator:TaskGrouper",
    "TaskMatrix": "stg_ray.artifacts.task_matrix:TaskMatrix",
    "TaskSet": "stg_ray.tasks:TaskSet",
    "add_tasks": "stg_ray.grouping.new_tasks:add_new_tasks",
    "affinity": "stg_ray.in_memory:affinity",
    "auxiliary": "stg_ray.main_task.auxiliary:auxiliary",
    "confidence_correlation": "stg_ray.affinities.confidence:confidence_correlation",
    "data_map_distance": "stg_ray.affinities.data_map:data_map_distance",
    "group": "stg_ray.grouping.group_tasks:group_tasks",
    "load": "stg_ray.serving:load",
    "load_auxiliary": "stg_ray.main_task.serving:load_auxiliary",
    "load_config": "stg_ray.config.loading:load_config",
    "plot": "stg_ray.report:plots",
    "run": "stg_ray.pipeline:run",
}
"""The homes of the public names. They are imported when first used: `import stg_ray` loads neither torch nor Ray."""

__all__ = [
    "Config",
    "DataMap",
    "DataMapState",
    "GroupSearch",
    "Groups",
    "InputError",
    "PointHistogram",
    "Run",
    "StgRayError",
    "Task",
    "TaskGrouper",
    "TaskMatrix",
    "TaskSet",
    "add_tasks",
    "affinity",
    "auxiliary",
    "confidence_correlation",
    "data_map_distance",
    "group",
    "load",
    "load_auxiliary",
    "load_config",
    "plot",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'stg_ray' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    globals()[name] = value = getattr(import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
