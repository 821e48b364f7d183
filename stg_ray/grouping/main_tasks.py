"""Groups of main tasks: each has the tasks that clearly help it, as `stg-ray auxiliary` has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stg_ray.artifacts.groups import Groups


def main_groups(tasks: Sequence[str], kept: Mapping[str, Sequence[str]]) -> Groups:
    """Group each main task with its helpers, which serves the main task only, and all other tasks in a last group.

    Main tasks whose groups would have the same members share one.

    Args:
        tasks: names of all K tasks.
        kept: by main task, the names of the tasks that help it.

    Example:
        >>> groups = main_groups(["price", "demand", "colour", "weight"], {"price": ["demand"], "colour": []})
        >>> groups.groups, groups.serving["demand"]
        ([['price', 'demand'], ['demand', 'weight'], ['colour']], 1)
    """
    members_of = {main: frozenset((main, *helpers)) for main, helpers in kept.items()}
    others = frozenset(task for task in tasks if task not in kept)
    groups = list(dict.fromkeys([*members_of.values(), *([others] if others else [])]))
    labels = np.array([groups.index(members_of.get(task, others)) for task in tasks])
    members = np.array([[task in group for task in tasks] for group in groups])
    return Groups.from_labels(tasks, labels, "auxiliary", members=members)
