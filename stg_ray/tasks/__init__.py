"""Tasks, their labels, and the rows to train, validate and test on."""

from stg_ray.tasks.labels import MISSING, observed
from stg_ray.tasks.splitting import MIN_ROWS, SPLITS, UNUSED
from stg_ray.tasks.task import Task, TaskKind
from stg_ray.tasks.task_set import TaskSet

__all__ = ["MIN_ROWS", "MISSING", "SPLITS", "UNUSED", "Task", "TaskKind", "TaskSet", "observed"]
