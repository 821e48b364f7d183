"""Training the groups' networks, and the baselines they are measured against, as trials of Ray Tune."""

from stg_ray.retraining.all_tasks import AllTaskNetworks
from stg_ray.retraining.stage import run

__all__ = ["AllTaskNetworks", "run"]
