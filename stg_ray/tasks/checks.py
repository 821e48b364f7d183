"""Checks of arrays that become a task set. Each message names the value that was met and the one expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, get_args

import numpy as np

from stg_ray.errors import InputError, one_line
from stg_ray.tasks.containers import nan_where_masked, plain_array, without_views
from stg_ray.tasks.frames import as_table, by_pattern, is_frame
from stg_ray.tasks.kinds import Meaning
from stg_ray.tasks.label_matrix import LabelColumns, MatrixColumns, SeparateColumns
from stg_ray.tasks.layout import check_channels_first
from stg_ray.tasks.list_columns import with_lists_as_columns
from stg_ray.tasks.precision import check_input_steps, rows_to_look_at
from stg_ray.tasks.sparse_rows import InputRows, SparseRows, stays_sparse
from stg_ray.tasks.task import Task, TaskKind


def checked_inputs(given: Any) -> InputRows:
    """Return inputs (N, ...) as float32 or uint8, not reversed; large and mostly empty ones of SciPy's as sparse rows.

    Raises:
        InputError: they are ragged, hold no numbers, or one is not finite.
    """
    if hasattr(given, "tocsr") and stays_sparse(given):
        return SparseRows.of(given)
    try:
        inputs: np.ndarray = np.asarray(plain_array(nan_where_masked(given)))
    except ValueError as error:
        raise InputError(f"inputs cannot be read: {one_line(error)} (expected one array of equal rows)") from error
    if inputs.dtype.kind not in "biuf":
        raise InputError(
            f"inputs have the type {inputs.dtype}: expected numbers in one array of equal rows "
            "(ragged rows and text must be converted first)"
        )
    if inputs.ndim > 1 and 0 in inputs.shape:
        raise InputError(
            f"inputs have the shape {inputs.shape}: expected (N, ...), with at least one row and one feature"
        )
    check_channels_first(inputs)
    if inputs.dtype.kind == "f" and inputs.ndim > 1:
        bad = ~np.isfinite(inputs.reshape(len(inputs), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"inputs have NaN, masked or infinite values in {int(bad.sum())} rows, the first is row "
                f"{int(bad.argmax())}: fill or remove them"
            )
    if inputs.ndim > 1:
        check_input_steps(inputs[rows_to_look_at(len(inputs), inputs[0].size)])
    values = inputs if inputs.dtype == np.uint8 else _as_float32(inputs)
    return np.ascontiguousarray(values) if min(values.strides, default=0) < 0 else values  # torch takes none reversed


def label_columns(labels: Any, names: Sequence[str] | None) -> tuple[LabelColumns, list[str]]:
    """Return labels as columns, and the names of the tasks.

    Args:
        labels: an array (N, K), a data frame, or a mapping from names to columns of their own types. A column that
            lists names is a task for each of them.
        names: of the tasks; by default those of the columns, else task_0, task_1, ...

    Raises:
        InputError: they hold neither numbers nor texts, or names are not distinct.
    """
    if is_frame(labels):
        table = as_table(labels)
        labels = dict(enumerate(table.columns))
        names = table.column_names if names is None else names
    if isinstance(labels, Mapping):
        names = checked_names(list(labels) if names is None else names, len(labels))
        columns = with_lists_as_columns(dict(zip(names, map(without_views, labels.values()), strict=True)))
        return SeparateColumns(list(columns), list(columns.values())), checked_names(list(columns), len(columns))
    labels = plain_array(labels)
    _check_lists(labels)
    try:
        labels = labels if isinstance(labels, np.ma.MaskedArray) else np.asarray(labels)
    except ValueError as error:
        raise InputError(f"labels cannot be read: {one_line(error)} (expected one array of equal rows)") from error
    if labels.ndim != 2:
        raise InputError(f"there are labels {labels.shape}: expected (N, K), a column for each task")
    if labels.shape[1] == 0:
        raise InputError("labels have no column: expected one for each task")
    names = checked_names(names, labels.shape[1])
    if labels.dtype.kind in "biuf" and not isinstance(labels, np.ma.MaskedArray):
        return MatrixColumns(labels), names
    return SeparateColumns(names, list(labels.T)), names


def _check_lists(labels: Any) -> None:
    """Refuse rows that name their labels, which are sets, or lists of unequal lengths."""
    rows = labels if isinstance(labels, list | tuple) else ()
    lists = [row for row in rows if isinstance(row, list | tuple | set | frozenset)]
    if any(isinstance(row, set | frozenset) for row in lists) or len({len(row) for row in lists}) > 1:
        raise InputError(
            "labels are lists of unequal lengths, or sets: do they name the labels of each row? Give a column of 0 and "
            "1 for each label: MultiLabelBinarizer().fit_transform(labels) of scikit-learn"
        )


def checked_features(features: Sequence[str] | None, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Return the names of the columns of inputs of a shape; None where there are none.

    Raises:
        InputError: there are not as many names as columns, or two are the same.
    """
    if features is None:
        return None
    names = tuple(map(str, as_list(features, "features")))
    if len(shape) != 2 or len(names) != shape[1]:
        raise InputError(f"{len(names)} names of features and inputs {shape}: expected one for each column of (N, F)")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"features names {twice!r} twice: expected a name of its own for each column")
    return names


def checked_shapes(inputs: InputRows, n_labels: int, n_tasks: int) -> None:
    """Refuse inputs without one row of labels for each.

    Raises:
        InputError: the shapes do not fit.
    """
    if len(inputs.shape) < 2 or len(inputs) != n_labels:
        turned = ": are the labels columns? Give labels.T" if n_tasks == len(inputs) > 2 else ""
        if len(inputs.shape) > 2 and inputs.shape[1] == n_labels:
            turned = f": are these {len(inputs)} inputs of each row? Give them as one, np.stack(inputs, axis=1)"
        raise InputError(
            f"inputs have the shape {inputs.shape} and labels {(n_labels, n_tasks)}: expected (N, ...) and (N, K), one "
            f"row of labels for each input{turned}"
        )


def by_column(given: Any, names: Sequence[str], what: str) -> list[Any]:
    """Return what is given for each of K tasks: by K entries, by names or patterns, or None for all.

    Raises:
        InputError: there are not K entries, or a pattern is that of no task.
    """
    if given is None:
        return [None] * len(names)
    if isinstance(given, Mapping):
        return by_pattern(given, names, what)
    entries = as_list(given, what)
    if what == "missing" and not any(isinstance(entry, list | tuple | np.ndarray | None) for entry in entries):
        return [entries] * len(names)  # marks, the same for all tasks
    if len(entries) != len(names):
        raise InputError(f"there are {len(entries)} {what} for {len(names)} tasks")
    return entries


def as_list(given: Any, what: str) -> list[Any]:
    """Return entries as a list.

    Raises:
        InputError: they are a single value.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InputError(f"{what} is {given!r}: expected a list of entries, such as [{given!r}]")
    return list(given)


def checked_limit(n_rows: int) -> int:
    """Return a limit on rows.

    Raises:
        InputError: it leaves none.
    """
    if not isinstance(n_rows, Integral) or n_rows < 1:
        raise InputError(f"the limit of training rows is {n_rows!r}: expected a whole number from 1")
    return int(n_rows)


def checked_kinds(kinds: Sequence[TaskKind | None]) -> None:
    """Refuse kinds that are none.

    Raises:
        InputError: there is one.
    """
    strange = sorted({kind for kind in kinds if kind is not None} - set(get_args(TaskKind)))
    if strange:
        raise InputError(f"unknown kind of task {strange[0]!r}: expected {', '.join(get_args(TaskKind))}")


def tasks_of(
    names: Sequence[str],
    meanings: Sequence[Meaning],
    groups: Sequence[str | None] | Mapping[str, str] | None,
    class_weights: Sequence[Sequence[float] | None] | None,
) -> tuple[Task, ...]:
    """Return the K tasks of columns whose meaning is known; for the other arguments see `TaskSet.from_arrays`.

    Raises:
        InputError: not one group or list of weights for each task, or weights that do not fit the classes.
    """
    groups_of = by_column(groups, names, "groups")
    weights = by_column(class_weights, names, "class_weights")
    tasks = []
    for name, meaning, group, of_classes in zip(names, meanings, groups_of, weights, strict=True):
        classes = None if meaning.is_numbered else meaning.classes
        task = Task(name, meaning.kind, meaning.n_classes, group or None, classes=classes)
        tasks.append(_with_weights(task, of_classes))
    return tuple(tasks)


def checked_names(names: Sequence[str] | None, n_tasks: int) -> list[str]:
    """Return K distinct names of tasks; task_0, task_1, ... where none are given.

    Raises:
        InputError: there are not K, or two are the same, or one is none.
    """
    if names is None:
        return [f"task_{t}" for t in range(n_tasks)]
    names = [str(name) for name in as_list(names, "names")]
    if len(names) != n_tasks:
        raise InputError(f"there are {len(names)} task names for {n_tasks} columns of labels")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"task names must be distinct, found more than once: {', '.join(map(repr, twice[:5]))}")
    if "__task__" in names or "" in names:
        raise InputError("a task may not be named '__task__' (the key column of the tables) nor have an empty name")
    return names


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


def check_varied(inputs: InputRows) -> None:
    """Refuse inputs (N, ...) that are the same in all rows; most are told by their second row.

    Raises:
        InputError: they are.
    """
    first = inputs[:1]
    if len(inputs) < 2 or not (inputs[1:2] == first).all():
        return
    block = max(1, min(4096, 2**24 // first.size))
    if all(bool((inputs[start : start + block] == first).all()) for start in range(0, len(inputs), block)):
        raise InputError(
            f"inputs are the same in all {len(inputs):,} rows: there is nothing that a network can learn from"
        )


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
