"""A summary of a task set as it was understood: kinds, classes, missing labels, rare tasks, inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from stg_ray.shown import counted, ranged
from stg_ray.tasks.labels import observed, ranges_of
from stg_ray.tasks.rare import first_names, minorities, shown_label
from stg_ray.tasks.sparse_rows import InputRows, SparseRows
from stg_ray.tasks.task import Task
from stg_ray.tasks.task_set import TaskSet

BLOCK_VALUES = 2**22
"""Values that are looked at together."""


def about(task_set: TaskSet) -> list[str]:
    """Return a line for each kind of task, one for the inputs, and others for what is dropped, not scored or not seen.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> labels = {"bird": [0, 1] * 50, "colour": ["red", "green", None, "blue"] * 25}
        >>> for line in about(sr.TaskSet.from_arrays(np.arange(200.0).reshape(100, 2), labels)):
        ...     print(line)
        1 binary; rarest: 'bird' with 35 training rows of the rarer class
        1 multiclass of 3 classes, 25 % of labels missing; rarest: 'colour' with 36 training rows of smaller classes
        inputs: 2 float32 numbers from 0 to 199
    """
    train = task_set.rows("train")
    labelled = _labelled(task_set)
    rarer = minorities(task_set.labels, task_set.tasks, train)
    lines = []
    for kind in ("binary", "multiclass", "regression"):
        chosen = [t for t, task in enumerate(task_set.tasks) if task.kind == kind]
        if chosen:
            missing = 1 - labelled[chosen].mean() / max(1, len(task_set.labels))
            rarest = min(chosen, key=lambda t: rarer[t])
            gaps = f", {_percent(missing)} of labels missing" if missing > 0 else ""
            of_classes = _classes_text([task_set.tasks[t] for t in chosen]) if kind == "multiclass" else ""
            lines.append(
                f"{len(chosen):,} {kind}{of_classes}{gaps}; rarest: {_rare_text(task_set.tasks[rarest], rarer[rarest])}"
            )
    lines.append(f"inputs: {_inputs_text(task_set.inputs)}")
    if task_set.dropped:
        n_all = len(task_set.tasks) + len(task_set.dropped)
        lines.append(
            f"dropped, constant or rare: {len(task_set.dropped):,} of {n_all:,} tasks, {first_names(task_set.dropped)}"
        )
    unscored = [task.name for task in task_set.tasks if not task.is_scored]
    if unscored:
        n_tasks = len(task_set.tasks)
        lines.append(f"trained and not scored: {len(unscored):,} of {n_tasks:,} tasks, {first_names(unscored)}")
    if unseen := _unseen_classes(task_set):
        lines.append(f"classes without a training row, never learned: {first_names(unseen)}")
    if untold := _untold(task_set):
        n_tasks = len(task_set.tasks)
        lines.append(
            f"not scored on validation rows, which have no label or one value of them: {len(untold):,} of {n_tasks:,} "
            f"tasks, {first_names(untold)}"
        )
    return lines


def _unseen_classes(task_set: TaskSet) -> list[str]:
    """Return the classes of multi-class tasks that no training row has, each with its task."""
    train, unseen = task_set.rows("train"), []
    for t, task in enumerate(task_set.tasks):
        if task.kind == "multiclass":
            column = task_set.labels[train, t]
            counts = np.bincount(column[observed(column)].astype(np.int64), minlength=task.n_classes)
            unseen += [f"{shown_label(task, code)} of {task.name!r}" for code in np.flatnonzero(counts == 0).tolist()]
    return unseen


def _untold(task_set: TaskSet) -> list[str]:
    """Return the tasks that the validation rows have no score of, beside those that are not scored at all."""
    ranges = ranges_of(task_set.labels, task_set.rows("val"))
    told = ranges.low < ranges.high
    return [task.name for task, is_told in zip(task_set.tasks, told, strict=True) if task.is_scored and not is_told]


def _labelled(task_set: TaskSet) -> np.ndarray:
    """Return the number of labels (K,) of each task."""
    counts = np.zeros(len(task_set.tasks), np.int64)
    for rows in _blocks(task_set.labels):
        counts += observed(task_set.labels[rows]).sum(axis=0)
    return counts


def _classes_text(tasks: list[Task]) -> str:
    sizes = [task.n_classes for task in tasks]
    return f" of {ranged(min(sizes), max(sizes))} classes"


def _rare_text(task: Task, count: int) -> str:
    where = {
        "binary": "training rows of the rarer class",
        "multiclass": "training rows of smaller classes",
        "regression": "training rows",
    }
    return f"{task.name!r} with {count:,} {where[task.kind]}"


def _inputs_text(inputs: InputRows) -> str:
    if isinstance(inputs, SparseRows):
        low, high = inputs.range()
        share = _percent(len(inputs.values) / max(1, math.prod(inputs.shape)))
        return f"{inputs.n_columns:,} numbers from {low:.4g} to {high:.4g}, {share} not 0: kept sparse"
    low, high = np.inf, -np.inf
    for rows in _blocks(inputs):
        low, high = min(low, inputs[rows].min()), max(high, inputs[rows].max())
    values = f"from {low:.4g} to {high:.4g}"
    shape = inputs.shape[1:]
    if len(shape) == 1:
        return f"{shape[0]:,} {inputs.dtype} numbers {values}"
    if len(shape) == 3:
        return f"{counted(shape[0], 'channel')} of {shape[1]} x {shape[2]} {inputs.dtype} pixels {values}"
    return f"{' x '.join(map(str, shape))} {inputs.dtype} values {values}"


def _blocks(array: np.ndarray) -> Iterator[slice]:
    step = max(1, BLOCK_VALUES // max(1, int(np.prod(array.shape[1:]))))
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def _percent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"
