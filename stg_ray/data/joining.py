"""The joining of several task sets to one: all their tasks, over all their samples."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from stg_ray.data.images import large_array
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING, TaskSet, observed
from stg_ray.tasks.notes import DataWarning
from stg_ray.tasks.rare import first_names
from stg_ray.tasks.sparse_rows import FEW_FILLED, InputRows, SparseRows, joined

BLOCK_ROWS = 4096
SHOWN = 3
"""Features that a message names."""


def join_task_sets(sets: Mapping[str, TaskSet]) -> TaskSet:
    """Join several task sets; a task, now named SET/TASK, has no labels for the samples of the other sets.

    The known group of a task is SET/GROUP where its set has known groups, else SET. Features of one name are one
    feature, wherever they stand in their sets; those without names, or whose names are all others, go by position.

    Args:
        sets: task sets by name, with inputs of one shape.

    Warns:
        DataWarning: the features of a set go by position, beside a set whose features have names.

    Raises:
        InputError: the inputs have different shapes, so that no trunk takes them all; or a set has some features of
            another, and not all of them.
    """
    sets, features = _by_feature(sets)
    shapes = {name: task_set.inputs.shape[1:] for name, task_set in sets.items()}
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"{shape} of {name}" for name, shape in shapes.items())
        raise InputError(f"the inputs of the joined sets have different shapes ({shown}): one trunk needs one shape")
    all_sets = list(sets.values())
    n_rows, n_tasks = sum(len(s.inputs) for s in all_sets), sum(len(s.tasks) for s in all_sets)
    dtype = np.result_type(*(s.labels.dtype for s in all_sets))
    missing = np.nan if dtype.kind == "f" else MISSING
    labels = large_array((n_rows, n_tasks), dtype)
    labels[:] = missing
    row = column = 0
    for task_set in all_sets:
        rows = slice(row, row + len(task_set.inputs))
        columns = slice(column, column + len(task_set.tasks))
        labels[rows, columns] = np.where(observed(task_set.labels), task_set.labels, dtype.type(missing))
        row, column = rows.stop, columns.stop
    tasks = tuple(
        replace(task, name=f"{name}/{task.name}", group=f"{name}/{task.group}" if task.group else name)
        for name, task_set in sets.items()
        for task in task_set.tasks
    )
    dropped = tuple(f"{name}/{task}" for name, task_set in sets.items() for task in task_set.dropped)
    return TaskSet(
        _joined_inputs([s.inputs for s in all_sets]),
        labels,
        tasks,
        np.concatenate([s.split for s in all_sets]),
        dropped,
        features,
    )


def _by_feature(sets: Mapping[str, TaskSet]) -> tuple[dict[str, TaskSet], tuple[str, ...] | None]:
    """Return the sets, those of the same features in one order, and the features' names where no set has others."""
    orders: dict[str, tuple[str, ...]] = {}  # by the first set that has such names
    ordered = dict(sets)
    for name, task_set in sets.items():
        features = task_set.features or ()
        first = next((known for known, order in orders.items() if set(order) & set(features)), None)
        if first is not None and set(orders[first]) != set(features):
            raise InputError(_differ(first, orders[first], name, features))
        if first is not None:
            ordered[name] = _in_order(task_set, orders[first])
        elif features:
            orders[name] = features
    for name, task_set in sets.items():
        first = next(iter(orders), name)
        if name != first and (name in orders or task_set.features is None):
            theirs = f"the names {first_names(orders[name], SHOWN)}" if name in orders else "no names"
            warnings.warn(
                f"the features of the joined set {name!r} are taken by position: they have {theirs}, beside "
                f"{first_names(orders[first], SHOWN)} of {first!r}",
                DataWarning,
                stacklevel=3,
            )
    return ordered, next(iter(orders.values())) if len(orders) == 1 else None


def _differ(first: str, expected: Sequence[str], name: str, found: Sequence[str]) -> str:
    """Return the message for two sets that have only some of their features in common."""
    pairs = ((first, expected, name, found), (name, found, first, expected))
    lacks = [(a, [f for f in theirs if f not in set(own)], b) for a, own, b, theirs in pairs]
    shown = "; ".join(f"{a!r} lacks {first_names(lacking, SHOWN)} of {b!r}" for a, lacking, b in lacks if lacking)
    return f"the joined sets have some of their features in common, and not all: {shown}: name the same, or rename them"


def _in_order(task_set: TaskSet, names: tuple[str, ...]) -> TaskSet:
    """Return a task set with its features in another order."""
    if task_set.features == names:
        return task_set
    places = {name: place for place, name in enumerate(task_set.features or ())}
    columns = np.array([places[name] for name in names])
    if isinstance(task_set.inputs, SparseRows):
        return replace(task_set, inputs=task_set.inputs.in_order(columns), features=names)
    inputs = large_array(task_set.inputs.shape, task_set.inputs.dtype)
    for start in range(0, len(inputs), BLOCK_ROWS):
        inputs[start : start + BLOCK_ROWS] = task_set.inputs[start : start + BLOCK_ROWS, columns]
    return replace(task_set, inputs=inputs, features=names)


def _joined_inputs(parts: Sequence[InputRows]) -> InputRows:
    """Return the inputs of all sets; sparse if those of one are and no more than `FEW_FILLED` of all are filled."""
    n_rows, size = sum(map(len, parts)), sum(math.prod(part.shape) for part in parts)
    if any(isinstance(part, SparseRows) for part in parts):
        filled = sum(part.n_filled if isinstance(part, SparseRows) else np.count_nonzero(part) for part in parts)
        if filled <= FEW_FILLED * size:
            return joined([part if isinstance(part, SparseRows) else SparseRows.of_dense(part) for part in parts])
    inputs = large_array((n_rows, *parts[0].shape[1:]), np.result_type(*(part.dtype for part in parts)))
    row = 0
    for part in parts:
        for start in range(0, len(part), BLOCK_ROWS):
            block = part[start : start + BLOCK_ROWS]
            inputs[row : row + len(block)] = block
            row += len(block)
    return inputs
