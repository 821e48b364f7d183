"""Selection under a budget: the groups to train when only so many networks can be afforded.

`select` starts from an affinity, `select_measured` from the losses of groups that were trained.
"""

from stg_ray.grouping.selection.problem import Selection
from stg_ray.grouping.selection.solve import select, select_measured
from stg_ray.tasks.conditions import Conditions

__all__ = ["Conditions", "Selection", "select", "select_measured"]
