"""Affinities that users bring: arrays, data frames, data maps, and Parquet or CSV files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stg_ray.artifacts.task_matrix import Kind, TaskMatrix, check_distinct
from stg_ray.data_maps.files import DataMap
from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.data_maps.state import DataMapState
from stg_ray.errors import InputError, one_line
from stg_ray.tasks.containers import nan_where_masked

PointsLike = PointHistogram | DataMap | DataMapState
"""Data maps, whose tasks are compared by their points."""

Rows = Sequence[Sequence[float]]
"""A matrix as a list of its rows."""

MatrixLike = TaskMatrix | PointsLike | np.ndarray | Rows | torch.Tensor | pd.DataFrame | str | os.PathLike[str]


def as_matrix(source: MatrixLike, *, names: Sequence[str] | None = None, kind: Kind | None = None) -> TaskMatrix:
    """Return the K x K matrix of an array, a data frame, a file or a data map.

    Args:
        source: a TaskMatrix; an array (K, K), or a list of its rows; a data frame whose index and columns name the
            tasks; a path to Parquet, of a run's affinity/ or as pandas writes such a frame, or to CSV with the tasks'
            names in the first row and column; a data map, whose tasks are as far apart as the shares of their points
            (see `PointHistogram.distances`).
        names: of the tasks of an array or a DataMapState; task 0, task 1, ... if not given.
        kind: of an array, a data frame or a file of yours: affinity (large means alike) or distance; None: affinity,
            unless it looks like distances, which are refused. A TaskMatrix and the run's Parquet have their kind with
            them.

    Raises:
        InputError: the source is not square, its rows and columns name different tasks, these are not the tasks of
            `names`, a value is no number, infinite, or a negative distance, or a kind must be given.
    """
    if isinstance(source, TaskMatrix):
        _check_distances(source, "the affinity")
        return _named(source, names, "the affinity")
    if (points := as_points(source, names)) is not None:
        return points.distances()
    if isinstance(source, pd.DataFrame):
        return _named(_from_frame(source, kind, "the data frame"), names, "the data frame")
    if isinstance(source, str | os.PathLike):
        return _named(_from_file(Path(source), kind), names, str(source))
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().double().numpy()
    try:
        values = _real(nan_where_masked(source))
    except (TypeError, ValueError) as error:
        raise InputError(f"the affinity is no array of numbers: {one_line(error)}") from error
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InputError(f"the affinity has the shape {values.shape}: expected a square matrix, one row per task")
    tasks = tuple(map(str, names)) if names is not None else tuple(f"task {t}" for t in range(len(values)))
    return _understood(tasks, values, kind, "the affinity")


def _real(values: object) -> np.ndarray:
    """Return values in float64; imaginary parts would be left out unsaid."""
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise TypeError("it has complex numbers, expected real ones")
    return array.astype(np.float64, copy=False)


def each_source(given: MatrixLike | Sequence[MatrixLike]) -> list[MatrixLike]:
    """Return the sources of matrices that are given: several in a list, or one; a list of rows is one, too.

    Raises:
        InputError: the list is empty.
    """
    if not isinstance(given, list | tuple):
        return [cast(MatrixLike, given)]
    if not given:
        raise InputError("there is no affinity: expected a matrix, or a list of several")
    return [np.array(given, dtype=object)] if given and all(map(_is_row, given)) else list(given)


def _is_row(given: object) -> bool:
    """Return whether this is a row of a matrix: an array of one dimension, or a list of plain values."""
    if isinstance(given, list | tuple):
        return not any(hasattr(value, "__len__") and not isinstance(value, str) for value in given)
    return isinstance(given, np.ndarray | torch.Tensor | pd.Series) and given.ndim == 1


def as_points(source: object, names: Sequence[str] | None = None) -> PointHistogram | None:
    """Return the histograms of a data map's points; None for any other source."""
    if isinstance(source, DataMapState):
        return PointHistogram.of(source, names)
    if isinstance(source, DataMap):
        return source.histogram()
    return source if isinstance(source, PointHistogram) else None


def points_of(sources: Sequence[object], tasks: Sequence[str]) -> PointHistogram:
    """Return the first data map among the sources, its tasks in this order.

    Raises:
        InputError: there is none, or a task has no point in it.
    """
    for source in sources:
        if isinstance(source, PointHistogram):
            without = [task for task, counts in zip(source.tasks, source.counts, strict=True) if not counts.any()]
            if without:
                raise InputError(
                    f"task {without[0]!r} has no points in the data map (a regression has no confidence): "
                    "leave it out, or use another method than points"
                )
            return PointHistogram(tuple(tasks), source.counts[[source.tasks.index(task) for task in tasks]])
    raise InputError("grouping by points needs a data map: give an sr.DataMap, or the sr.DataMapState of some samples")


def in_order_of(matrix: TaskMatrix, tasks: Sequence[str], title: str) -> TaskMatrix:
    """Return the matrix with its rows and columns in this order.

    Args:
        matrix: of the K tasks in any order.
        tasks: names of the K tasks.
        title: of the matrix, for errors.

    Raises:
        InputError: the matrix lacks one of the tasks, or has another.
    """
    lacking, stray = set(tasks) - set(matrix.tasks), set(matrix.tasks) - set(tasks)
    if lacking or stray:
        wrong = f"lacks {sorted(lacking)[0]!r}" if lacking else f"has {sorted(stray)[0]!r}, which is no task of the run"
        raise InputError(f"{title} {wrong}: expected one row and one column for each of the {len(tasks)} tasks")
    position = {task: t for t, task in enumerate(matrix.tasks)}
    order = [position[task] for task in tasks]
    pairs = np.ix_(order, order)
    errors = None if matrix.errors is None else matrix.errors[pairs]
    return replace(matrix, tasks=tuple(tasks), values=matrix.values[pairs], errors=errors)


def _from_file(path: Path, kind: Kind | None) -> TaskMatrix:
    try:
        if path.suffix == ".csv":
            return _from_frame(_csv_frame(path), kind, str(path))
        if path.suffix != ".parquet":
            raise InputError(f"{path}: expected a file that ends in .parquet or .csv")
        table = pq.read_table(path)
        if b"stg_ray" in (table.schema.metadata or {}):
            return _checked(TaskMatrix.from_table(table), str(path))
        frame = cast(pd.DataFrame, table.to_pandas())
        if isinstance(frame.index, pd.RangeIndex) and len(frame.columns) == len(frame) + 1:
            frame = frame.set_index(frame.columns[0])  # else pandas wrote the names as an index
        return _from_frame(frame, kind, str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or one_line(error)}") from error
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from error


def _csv_frame(path: Path) -> pd.DataFrame:
    """Read a CSV file with the names as they stand in it: a task may be called NA, or 01.

    Raises:
        InputError: there are no names, or its values are not separated by commas.
    """
    (corner, *columns), *_ = pd.read_csv(path, header=None, nrows=1, dtype=str, na_filter=False).to_numpy().tolist()
    if not columns:
        raise InputError(
            f"{path} has one column: expected the names of the tasks and their values, separated by commas"
        )
    if _is_number(corner):  # of a matrix without names, whose values would pass for them where it is symmetric
        raise InputError(
            f"{path} begins with the number {corner}: expected the names of the tasks in its first row and column, and "
            "no number in the corner between them"
        )
    rows = pd.read_csv(path, usecols=[0], dtype=str, na_filter=False).iloc[:, 0]
    frame = pd.read_csv(path, index_col=0).set_axis(rows.to_list())
    return frame.set_axis(columns, axis=1) if len(columns) == frame.shape[1] else frame


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_frame(frame: pd.DataFrame, kind: Kind | None, title: str) -> TaskMatrix:
    rows, columns = [str(name) for name in frame.index], [str(name) for name in frame.columns]
    if sorted(rows) != sorted(columns):
        different = sorted(set(rows) ^ set(columns))
        raise InputError(
            f"{title} has {len(rows)} rows and {len(columns)} columns"
            + (f", and {different[0]!r} is not among both" if different else "")
            + ": expected the same task names in both"
        )
    try:
        values = _real(frame)
    except (TypeError, ValueError) as error:
        raise InputError(f"{title} holds a value that is no number: {one_line(error)}") from error
    check_distinct(rows, title)
    order = [columns.index(name) for name in rows]
    return _understood(tuple(rows), values[:, order], kind, title)


def _named(matrix: TaskMatrix, names: Sequence[str] | None, title: str) -> TaskMatrix:
    """Refuse names of others than the tasks that the source names itself: they would be left out unsaid."""
    if names is not None and (stray := [name for name in names if name not in matrix.tasks]):
        raise InputError(
            f"{title} names its tasks itself, and has no {stray[0]!r}: leave names out, or rename its rows and columns"
        )
    return matrix


def _understood(tasks: tuple[str, ...], values: np.ndarray, kind: Kind | None, title: str) -> TaskMatrix:
    """Return a matrix of the kind that was given; where none was, of affinities, unless it may be of distances.

    Distances that are taken for affinities put unlike tasks together. They have one mark: each task is nearest to
    itself. An affinity whose diagonal was set to 0 may have it, too, so it is asked. Gains do not have it once a task
    harms another.
    """
    matrix = TaskMatrix(tasks, values, kind or "affinity")
    own = np.eye(len(values), dtype=bool)
    diagonal, others = matrix.values[own], matrix.values[~own]
    if kind is None and len(diagonal) > 1 and diagonal.max() < np.fmin.reduce(others):  # pairs may be NaN
        raise InputError(
            f"{title} may be of distances: every task is less alike to itself than to any other. Give kind='distance' "
            "where small values mean alike, else kind='affinity' (in a file of a run: negated values, or an empty "
            "diagonal)"
        )
    return _checked(matrix, title)


def _checked(matrix: TaskMatrix, title: str) -> TaskMatrix:
    if np.isinf(matrix.values).any():
        raise InputError(f"{title} has infinite values: a pair without a value must be NaN")
    _check_distances(matrix, title)
    return matrix


def _check_distances(matrix: TaskMatrix, title: str) -> None:
    """Refuse negative distances: their squares would pass for those of tasks far apart. The diagonal is not read."""
    if matrix.kind != "distance":
        return
    negative = np.argwhere((matrix.values < 0) & ~np.eye(len(matrix.values), dtype=bool))
    if len(negative):
        a, b = negative[0]
        raise InputError(
            f"{title} has a negative distance, {matrix.values[a, b]:g} between {matrix.tasks[a]!r} and "
            f"{matrix.tasks[b]!r}: expected 0 or more (where larger means more alike, the kind is affinity)"
        )
