"""Labels of tasks that are known already: further rows, to score predictions by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stg_ray.errors import InputError
from stg_ray.tasks.checks import by_column, label_columns
from stg_ray.tasks.columns import Column
from stg_ray.tasks.labels import MISSING
from stg_ray.tasks.task import Task


def known_labels(tasks: Sequence[Task], labels: Any, missing: Any = None) -> list[np.ndarray]:
    """Return the labels of each task, as networks predict them.

    Args:
        tasks: K tasks, as an earlier task set has them.
        labels: of N rows, in any container of a task set's labels; columns are taken by name where they have the tasks'
            names, else in their order.
        missing: values that mark missing labels: see `TaskSet.from_arrays`.

    Returns:
        For each task (N,) numbers of classes, or values of a regression; NaN where there is no label.

    Raises:
        InputError: there are columns of other tasks, or labels that the earlier task set does not have.
    """
    columns, names = label_columns(labels, None)
    own = [task.name for task in tasks]
    if not set(own) <= set(names):
        if len(names) != len(own):
            lacking = next(name for name in own if name not in names)
            raise InputError(f"the labels have {len(names)} columns, none of them {lacking!r}: expected those of fit")
        names = own
    by_name = {task.name: task for task in tasks}
    marked = columns.columns(by_column(missing, names, "missing"))
    targets = {names[t]: _targets(by_name[names[t]], column) for t, column in marked if names[t] in by_name}
    return [targets[name] for name in own]


def _targets(task: Task, column: Column) -> np.ndarray:
    """Return the targets (N,) of a task."""
    if task.kind == "regression":
        if column.texts is not None:
            text = column.texts[0]
            raise InputError(f"task {task.name!r} is a regression, and has the label {text!r}: expected numbers")
        return np.where(column.present, column.values, np.nan).astype(np.float64)
    classes = list(task.classes or range(task.n_classes))
    number = {value: float(c) for c, value in enumerate(classes)}
    number.setdefault(MISSING, np.nan)
    values, inverse = np.unique(column.values[column.present], return_inverse=True)
    found = values.tolist() if column.texts is None else [column.texts[value] for value in values]
    if strange := [value for value in found if value not in number]:
        some = ", ".join(map(repr, classes[:10])) + (", ..." if len(classes) > 10 else "")
        raise InputError(f"task {task.name!r} has the label {strange[0]!r}, which fit did not see: expected {some}")
    targets = np.full(len(column.values), np.nan)
    if found:
        targets[column.present] = np.array([number[value] for value in found])[inverse]
    return targets
