"""The all-task training run on Ray Train, and the data maps that it records."""

from stg_ray.data_map import DataMapState
from stg_ray.profiling.stage import profile

__all__ = ["DataMapState", "profile"]
