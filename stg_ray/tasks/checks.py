"""Checks of arrays that become a task set. Each message names the value that was met and the one expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from stg_ray.errors import InputError
from stg_ray.tasks.labels import MISSING, Ranges, observed, ranges_of
from stg_ray.tasks.task import Task, TaskKind


def checked_arrays(inputs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (N, ...) as float32 or uint8, and labels (N, K) as they are.

    Raises:
        InputError: the arrays are ragged or hold no numbers, their shapes do not fit, an input is not finite.
    """
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    for what, array in (("inputs", inputs), ("labels", labels)):
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{what} have the type {array.dtype}: expected numbers in one array of equal rows "
                "(ragged rows and text must be converted first)"
            )
    if labels.ndim != 2 or inputs.ndim < 2 or len(inputs) != len(labels):
        raise InputError(
            f"inputs have the shape {inputs.shape} and labels {labels.shape}: expected (N, ...) and (N, K), one row "
            "of labels for each input"
        )
    if labels.shape[1] == 0:
        raise InputError("labels have no column: expected one for each task")
    if inputs.dtype.kind == "f":
        bad = ~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"inputs have NaN or infinite values in {int(bad.sum())} rows, the first is row "
                f"{int(bad.argmax())}: fill or remove them"
            )
        inputs = _as_float32(inputs)
    elif inputs.dtype != np.uint8:
        inputs = inputs.astype(np.float32)
    return inputs, labels


def checked_tasks(
    labels: np.ndarray,
    names: Sequence[str] | None,
    kinds: Sequence[TaskKind | None] | None,
    groups: Sequence[str | None] | None,
    class_weights: Sequence[Sequence[float] | None] | None,
) -> tuple[Task, ...]:
    """Return the K tasks of labels (N, K); for the other arguments see `TaskSet.from_arrays`.

    Raises:
        InputError: not one name, kind, group and list of weights for each task, or labels that do not fit the kind.
    """
    n_tasks = labels.shape[1]
    task_names = _checked_names(names, n_tasks)
    for what, given in (("kinds", kinds), ("groups", groups), ("class_weights", class_weights)):
        if given is not None and len(given) != n_tasks:
            raise InputError(f"there are {len(given)} {what} for {n_tasks} tasks")
    strange = sorted({kind for kind in kinds or () if kind is not None} - set(get_args(TaskKind)))
    if strange:
        raise InputError(f"unknown kind of task {strange[0]!r}: expected {', '.join(get_args(TaskKind))}")
    ranges = ranges_of(labels)
    return tuple(
        _with_weights(
            _task_of(
                name,
                labels[:, t],
                ranges.of(t),
                kinds[t] if kinds else None,
                (groups[t] if groups else None) or None,
            ),
            class_weights[t] if class_weights else None,
        )
        for t, name in enumerate(task_names)
    )


def compact(labels: np.ndarray, tasks: tuple[Task, ...]) -> np.ndarray:
    """Return labels (N, K) in the smallest type that holds them; NaN becomes -1 where no task is a regression."""
    if any(task.kind == "regression" for task in tasks):
        if labels.dtype.kind != "f":
            labels = np.where(observed(labels), labels, np.nan)
        return np.ascontiguousarray(labels, dtype=np.float32)
    largest = max(task.n_classes for task in tasks) - 1
    dtype: Any = next(t for t in (np.int8, np.int16, np.int32) if largest <= np.iinfo(t).max)
    if labels.dtype.kind == "f":
        labels = np.where(np.isnan(labels), MISSING, labels)
    return np.ascontiguousarray(labels, dtype=dtype)


def _checked_names(names: Sequence[str] | None, n_tasks: int) -> list[str]:
    if names is None:
        return [f"task_{t}" for t in range(n_tasks)]
    names = [str(name) for name in names]
    if len(names) != n_tasks:
        raise InputError(f"there are {len(names)} task names for {n_tasks} columns of labels")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"task names must be distinct, found more than once: {', '.join(map(repr, twice[:5]))}")
    if "__task__" in names or "" in names:
        raise InputError("a task may not be named '__task__' (the key column of the tables) nor have an empty name")
    return names


def _task_of(name: str, column: np.ndarray, ranges: Ranges, kind: TaskKind | None, group: str | None) -> Task:
    """Return the task of a column of labels."""
    if ranges.count == 0:
        raise InputError(f"task {name!r} has no label at all: remove it")
    if not np.isfinite([ranges.low, ranges.high]).all():
        raise InputError(f"task {name!r}: labels are infinite in row {int(np.isinf(column).argmax())}")
    kind = _told_kind(ranges, column.dtype) if kind is None else kind
    if kind == "regression":
        if column.dtype.kind in "iu":
            raise InputError(f"task {name!r}: regression labels must be floating point (missing ones NaN)")
        return Task(name, "regression", 1, group)
    if not ranges.whole or ranges.low < 0 or (kind == "binary" and ranges.high > 1):
        expected = "0 or 1" if kind == "binary" else "whole numbers from 0"
        values = column[observed(column)].astype(np.float64)
        strange = values[(values % 1 != 0) | (values < 0) | ((kind == "binary") & (values > 1))]
        raise InputError(
            f"task {name!r} is {kind} and has the label {strange[0]:g}: expected {expected}, -1 if missing"
        )
    return Task(name, kind, 2 if kind == "binary" else int(ranges.high) + 1, group)


def _told_kind(ranges: Ranges, dtype: np.dtype[Any]) -> TaskKind:
    """Tell the kind of a task from its labels.

    A floating-point column may hold the classes 0 and 1 only because NaN marks its missing labels; more classes in
    one are taken for numbers.
    """
    if ranges.whole and ranges.low >= 0 and ranges.high <= 1:
        return "binary"
    return "multiclass" if ranges.whole and ranges.low >= 0 and dtype.kind in "biu" else "regression"


def _with_weights(task: Task, class_weights: Sequence[float] | None) -> Task:
    """Return the task with the weights of its classes, if any are given."""
    if class_weights is None:
        return task
    if task.kind == "regression":
        raise InputError(f"task {task.name!r} is a regression and has class weights: expected none")
    weights = np.asarray(class_weights, dtype=np.float64)
    if weights.shape != (task.n_classes,) or not (np.isfinite(weights) & (weights > 0)).all():
        raise InputError(
            f"task {task.name!r} has the class weights {weights.tolist()}: expected {task.n_classes} positive numbers"
        )
    return replace(task, class_weights=tuple(weights.tolist()))


def _as_float32(inputs: np.ndarray) -> np.ndarray:
    """Return finite inputs (N, ...) as float32, which must hold them."""
    with np.errstate(over="ignore"):
        values = inputs.astype(np.float32, copy=False)
    if inputs.dtype.itemsize > 4 and not np.isfinite(values).all():
        row, *place = np.argwhere(~np.isfinite(values))[0].tolist()
        raise InputError(
            f"inputs have {inputs[(row, *place)]:g} in row {row}, which float32 cannot hold (at most "
            f"{np.finfo(np.float32).max:.1e}): is it a mark for what is missing? Fill or scale it"
        )
    return values
