"""Data frames as arrays of inputs and labels: pandas, polars, pyarrow, whatever speaks Arrow."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stg_ray.errors import InputError, one_line, unknown
from stg_ray.tasks.column_types import RECIPE, in_words, of_each_kind
from stg_ray.tasks.containers import without_views
from stg_ray.tasks.precision import check_input_steps, rows_to_look_at

if TYPE_CHECKING:
    import pyarrow as pa

Patterns = str | Sequence[str]
"""Columns by name or by pattern such as `y_*`."""

Value = TypeVar("Value")

REFUSED_COLUMN = re.compile(r"Conversion failed for column (.*) with type ")
"""What Arrow says of a column of pandas with values of several types, or of a type that it lacks."""


def is_frame(data: object) -> bool:
    """Whether `data` is a data frame: named columns that Arrow can read."""
    return hasattr(data, "__arrow_c_stream__") and hasattr(data, "columns")


def as_table(frame: Any, only: Collection[str] | None = None) -> pa.Table:
    """Return a data frame as an Arrow table, without its index.

    Args:
        frame: of pandas, polars or pyarrow.
        only: names of columns beside which others of pandas need not be fit for a table.

    Raises:
        InputError: `frame` is no data frame, two columns have one name, or a column mixes types.
    """
    import pandas as pd
    import pyarrow as pa

    if not is_frame(frame):
        lazy = " (collect() makes one of it)" if hasattr(frame, "collect") else ""
        raise InputError(f"{type(frame).__name__} is no data frame: expected one of pandas, polars or pyarrow{lazy}")
    if only is not None and isinstance(frame, pd.DataFrame):
        frame = frame.loc[:, [str(name) in only for name in frame.columns]]
    names = getattr(frame, "column_names", frame.columns)  # of Arrow's tables, columns are the columns themselves
    name, count = Counter(map(str, names)).most_common(1)[0] if len(names) else ("", 0)
    if count > 1:
        raise InputError(f"the data frame has {count} columns named {name!r}: rename or remove one")
    try:
        if isinstance(frame, pd.DataFrame):
            frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
            sparse = [name for name, kind in frame.dtypes.items() if isinstance(kind, pd.SparseDtype)]
            frame = frame.assign(**{name: frame[name].sparse.to_dense() for name in sparse})
            return pa.Table.from_pandas(frame, preserve_index=False)
        return pa.table(without_views(frame))
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason, place = one_line(error), REFUSED_COLUMN.search(str(error))
        if place is not None:  # Arrow gives the reason and the column
            reason = f"{error.args[0]} in the column {place[1]!r}: write all its values as numbers, or all as text"
        raise InputError(f"the data frame cannot be read: {reason}") from error


def divided(
    table: pa.Table, labels: Patterns, features: Patterns | None, split: str | Sequence[str] | np.ndarray | None
) -> tuple[pa.Table, pa.Table, Sequence[str] | np.ndarray | None]:
    """Divide a table into inputs, labels and split; see `TaskSet.from_frame` for the arguments.

    Raises:
        InputError: a column that is not there, or is both input and label, or no input is left.
    """
    columns = table.column_names
    if isinstance(split, str):
        (split_column,) = _matching(columns, split, "split")
        split = table.column(split_column).to_numpy().astype(str)
        columns = [name for name in columns if name != split_column]
    tasks = _matching(columns, labels, "labels")
    others = [name for name in columns if name not in tasks]
    inputs = others if features is None else _matching(columns, features, "features")
    if both := [name for name in inputs if name in tasks]:
        raise InputError(f"the column {both[0]!r} is among the features and among the labels: leave it out of one")
    if not inputs:
        raise InputError("the data frame has no column beside the labels: expected some to predict from")
    return table.select(inputs), table.select(tasks), split


def by_pattern(values: Mapping[str, Value], tasks: Sequence[str], what: str) -> list[Value | None]:
    """Return a value for each task, None where none is given: by its name, else by the first pattern that it fits.

    What is a task's name is no pattern: `dose[24h]` is that task, and not `dose2`.

    Raises:
        InputError: a name or pattern is that of no task.
    """
    named = set(tasks)
    patterns = {pattern: value for pattern, value in values.items() if pattern not in named}
    stray = [pattern for pattern in patterns if not fnmatch.filter(tasks, pattern)]
    if stray:
        raise InputError(f"{what}: {unknown(stray[0], tasks, 'task')}")
    return [
        values[name]
        if name in values
        else next((value for pattern, value in patterns.items() if fnmatch.fnmatchcase(name, pattern)), None)
        for name in tasks
    ]


def _matching(columns: Sequence[str], patterns: Patterns, what: str) -> list[str]:
    """Return the columns that the patterns name, each once, in the order of the patterns."""
    chosen: dict[str, None] = {}
    several = isinstance(patterns, Iterable) and not isinstance(patterns, str)
    for pattern in map(str, patterns if several else [patterns]):  # a single name may be a number
        names = [pattern] if pattern in columns else fnmatch.filter(columns, pattern)
        if not names:
            raise InputError(f"{what}: {unknown(pattern, columns, 'column')}")
        chosen |= dict.fromkeys(names)
    return list(chosen)


def input_array(table: pa.Table) -> np.ndarray:
    """Return the columns as inputs (N, F): uint8 where all are uint8 or boolean, else float32; null becomes NaN.

    Raises:
        InputError: a column holds no numbers.
    """
    import pyarrow as pa

    types = table.schema.types
    _check_numbers(table)
    has_gaps = any(column.null_count for column in table.columns)
    small = not has_gaps and all(kind == pa.uint8() or pa.types.is_boolean(kind) for kind in types)
    inputs = np.empty((len(table), len(types)), np.uint8 if small else np.float32)
    for f, column in enumerate(table.columns):
        inputs[:, f] = _numbers(column)
    return inputs


def trained_array(table: pa.Table) -> np.ndarray:
    """Return the columns as inputs (N, F) to train on, as `input_array` does.

    Raises:
        InputError: a column holds no numbers, or such as float32 cannot tell apart.
    """
    inputs = input_array(table)
    some = table.take(rows_to_look_at(len(table), table.num_columns))
    if inputs.dtype == np.float32:
        check_input_steps(np.stack([_numbers(column) for column in some.columns], axis=1), table.column_names)
    return inputs


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as float64, NaN where null."""
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values: np.ndarray = column.cast(pa.float64(), safe=False).to_numpy()
    return values


def _check_numbers(table: pa.Table) -> None:
    """Refuse columns that hold no numbers, all of them at once, with those that have gaps."""
    import pyarrow as pa

    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null)
    unfit = {f.name: in_words(f.type) for f in table.schema if not any(test(f.type) for test in tests)}
    if unfit:
        lists = any(kind.startswith("lists") for kind in unfit.values())
        hint = "; give vectors as one array to from_arrays, np.stack(frame[NAME])" if lists else ""
        gaps = {name: "gaps" for name in table.column_names if name not in unfit and table.column(name).null_count}
        raise InputError(
            f"columns without numbers: {'; '.join(of_each_kind(unfit | gaps))} (expected numbers or booleans for an "
            f"input: {RECIPE}; or name the others as features{hint})"
        )
