"""What is learned: tasks, their labels, and the rows to train, validate and test on."""

from stg_ray.tasks.labels import MISSING, observed
from stg_ray.tasks.task_set import MIN_ROWS, SPLITS, UNUSED, Task, TaskKind, TaskSet

__all__ = ["MIN_ROWS", "MISSING", "SPLITS", "UNUSED", "Task", "TaskKind", "TaskSet", "observed"]
