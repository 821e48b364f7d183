"""Tasks from one column of classes: each class against the rest, one multi-class task, or one task per super-class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stg_ray.config.tables import ClassTasks
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING


def class_tasks(
    classes: np.ndarray,
    names: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    tasks: ClassTasks = "one_vs_rest",
) -> dict[str, Any]:
    """Make tasks from the classes of N samples.

    Args:
        classes: (N,) class of each sample, -1 where it is missing.
        names: name of each class.
        groups: super-class of each class.
        tasks: one_vs_rest, a binary task per class; multiclass, one multi-class task, named `class`; by_group, a
            multi-class task per super-class, whose labels are missing for the samples of other super-classes.

    Returns:
        The arguments labels, names, kinds, missing and groups of `TaskSet.from_arrays`.

    Raises:
        InputError: a class without a name, or tasks by group without groups.
    """
    if classes.max(initial=-1) >= len(names) or classes.min(initial=0) < MISSING:
        raise InputError(
            f"classes are {classes.min()} to {classes.max()}: expected 0 to {len(names) - 1}, -1 if missing"
        )
    if tasks == "multiclass":
        return _multiclass(classes[:, None], ["class"])
    if tasks == "one_vs_rest":
        labels = (classes[:, None] == np.arange(len(names))).astype(np.int8)
        labels[classes == MISSING] = MISSING
        kinds, of_classes = ["binary"] * len(names), list(groups) if groups else None
        return {"labels": labels, "names": list(names), "kinds": kinds, "missing": [MISSING], "groups": of_classes}
    if groups is None:
        raise InputError("tasks by group need the super-class of every class")
    group_names = list(dict.fromkeys(groups))
    labels = np.full((len(classes), len(group_names)), MISSING, dtype=np.int16)
    for g, group in enumerate(group_names):
        for number, member in enumerate(c for c, of_class in enumerate(groups) if of_class == group):
            labels[classes == member, g] = number
    return _multiclass(labels, group_names)


def _multiclass(labels: np.ndarray, names: list[str]) -> dict[str, Any]:
    """Return the arguments of `TaskSet.from_arrays` for labels (N, K) of multi-class tasks."""
    kinds = ["multiclass"] * len(names)
    return {"labels": labels, "names": names, "kinds": kinds, "missing": [MISSING], "groups": None}
