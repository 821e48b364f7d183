"""Sources of task sets, and the parts that a task set is laid out in.

A new preset: one entry in `presets.py` and a function that returns a `TaskSet`. A new kind of source: a key in
`config.DataConfig` and a line in `load_task_set`.
"""

from __future__ import annotations

from stg_ray.config.data import data_root
from stg_ray.data.sources import load_task_set

__all__ = ["data_root", "load_task_set"]
