"""How alike the tasks are. One estimator per file; the actors that share its work are in `stage.py`.

A new affinity: a class as `base.Estimator` describes it, an entry in `stage.ESTIMATORS`, and its name in
`config.Affinity`.
"""

from stg_ray.affinities.stage import run

__all__ = ["run"]
