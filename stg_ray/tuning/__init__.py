"""Tuning: the settings of the network of all tasks that validation rows favour, before anything is profiled."""

from stg_ray.tuning.stage import run

__all__ = ["run"]
