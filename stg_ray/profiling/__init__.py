"""The all-task training run on Ray Train, and the data maps that it records."""

from stg_ray.profiling.stage import run

__all__ = ["run"]
