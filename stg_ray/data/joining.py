"""The joining of several task sets to one: all their tasks, over all their samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from stg_ray.data.images import large_array
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING, TaskSet, observed
from stg_ray.tasks.sparse_rows import FEW_FILLED, InputRows, SparseRows, joined

BLOCK_ROWS = 4096


def join_task_sets(sets: Mapping[str, TaskSet]) -> TaskSet:
    """Join several task sets; a task, now named SET/TASK, has no labels for the samples of the other sets.

    The known group of a task is SET/GROUP where its set has known groups, else SET.

    Args:
        sets: task sets by name, with inputs of one shape.

    Raises:
        InputError: the inputs have different shapes, so that no trunk takes them all.
    """
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
        all_sets[0].features if len({s.features for s in all_sets}) == 1 else None,
    )


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
