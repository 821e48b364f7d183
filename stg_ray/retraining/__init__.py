"""Training the groups' networks, and the baselines they are measured against, as trials of Ray Tune."""

from stg_ray.retraining.stage import run

__all__ = ["run"]
