"""The label matrix (N, K) of K columns, each of its own type: their meaning is told, and classes are numbered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stg_ray.errors import InputError
from stg_ray.tasks.columns import Column, Marks, column_of, plain
from stg_ray.tasks.kinds import MARKS_ABOVE, MARKS_BELOW, Distinct, Habits, Meaning, meaning_of
from stg_ray.tasks.labels import MISSING, observed, ranges_of
from stg_ray.tasks.precision import check_label_steps
from stg_ray.tasks.task import TaskKind

BLOCK_COLUMNS = 64
"""Columns of a matrix that are copied together: one on its own is far apart in memory."""
LARGEST = float(np.finfo(np.float32).max)
"""Of a regression's labels, which are stored as float32."""
NOTHING = Meaning("binary", (0, 1))
"""Of a column without a label."""


class LabelColumns(ABC):
    """K columns of N labels."""

    n_rows: int
    n_columns: int

    @abstractmethod
    def distinct(self, names: Sequence[str], missing: Sequence[Marks | None]) -> list[Distinct]:
        """Return the distinct values of each column, without those that a setting calls missing."""

    @abstractmethod
    def columns(self, missing: Sequence[Marks | None]) -> Iterator[tuple[int, Column]]:
        """Return the number of each column, and the column."""

    def encoded(self, names: Sequence[str], meanings: Sequence[Meaning], missing: Sequence[Marks | None]) -> np.ndarray:
        """Return labels (N, K): the numbers of classes, -1 where missing; float32 with NaN if there is a regression."""
        dtype = dtype_of(meanings)
        labels = np.empty((self.n_rows, self.n_columns), dtype)
        for t, column in self.columns(missing):
            labels[:, t] = _encoded(names[t], column, meanings[t], dtype)
        return labels


def dtype_of(meanings: Sequence[Meaning]) -> np.dtype[Any]:
    """Return the smallest type that holds the labels of these tasks."""
    if any(meaning.kind == "regression" for meaning in meanings):
        return np.dtype(np.float32)
    largest = max(meaning.n_classes for meaning in meanings) - 1
    return next(np.dtype(t) for t in (np.int8, np.int16, np.int32) if largest <= np.iinfo(t).max)


def _encoded(name: str, column: Column, meaning: Meaning, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the labels (N,) of a column."""
    none = np.nan if dtype.kind == "f" else MISSING
    present = column.present & ~np.isin(column.values, meaning.missing) if meaning.missing else column.present
    if meaning.classes is None:
        values = np.where(present, column.values, np.nan)
        if (np.abs(values) > LARGEST).any():
            raise InputError(f"task {name!r} has labels beyond {LARGEST:.1e}: scale them, or make them missing")
        check_label_steps(name, values[present].astype(np.float64))
        return values.astype(dtype)
    if column.texts is not None:
        codes = np.array([meaning.classes.index(text) for text in column.texts])[np.maximum(column.values, 0)]
    else:
        codes = column.values if meaning.is_numbered else np.searchsorted(np.array(meaning.classes), column.values)
    return np.where(present, codes, none).astype(dtype)


class MatrixColumns(LabelColumns):
    """The columns of an array (N, K) of numbers, of which only those are looked at closely that ask for it."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = plain(labels)
        self.n_rows, self.n_columns = labels.shape
        self.is_real = labels.dtype.kind == "f"

    def distinct(self, names: Sequence[str], missing: Sequence[Marks | None]) -> list[Distinct]:
        """Return the distinct values of each column; of one with fractions the smallest and the largest may do."""
        del names
        ranges = ranges_of(self.labels)
        found: dict[int, Distinct] = {}
        for t in range(self.n_columns):
            count, low, high = int(ranges.count[t]), ranges.low[t], ranges.high[t]
            values = {low, high} if count else set()
            if not self.is_real and count < self.n_rows:
                values.add(float(MISSING))  # is -1 a mark here? the rules tell
                count = self.n_rows
            usual = low in MARKS_BELOW or high in MARKS_ABOVE
            if missing[t] is None and ((low >= 0 and high <= 1 and ranges.whole[t]) or not (ranges.whole[t] or usual)):
                of_column = np.array(sorted(values))
                fractions = of_column if ranges.whole[t] else np.array([low, low + 0.5, high])
                ones = np.ones(len(fractions), np.int64)
                found[t] = Distinct(fractions, ones, count, gaps=count < self.n_rows, is_real=self.is_real)
        for t, column in self._chosen([t for t in range(self.n_columns) if t not in found], missing):
            found[t] = column.distinct()
        return [found[t] for t in range(self.n_columns)]

    def columns(self, missing: Sequence[Marks | None]) -> Iterator[tuple[int, Column]]:
        """Return the number of each column, and the column."""
        yield from self._chosen(range(self.n_columns), missing)

    def _chosen(self, numbers: Sequence[int], missing: Sequence[Marks | None]) -> Iterator[tuple[int, Column]]:
        for start in range(0, len(numbers), BLOCK_COLUMNS):
            block = numbers[start : start + BLOCK_COLUMNS]
            for t, values in zip(block, np.ascontiguousarray(self.labels[:, list(block)].T), strict=True):
                present = observed(values) if self.is_real else np.ones(len(values), dtype=bool)
                yield t, Column(values, present).without(missing[t])

    def encoded(self, names: Sequence[str], meanings: Sequence[Meaning], missing: Sequence[Marks | None]) -> np.ndarray:
        """Return labels (N, K) as they are, in the smallest type, where they are numbered already."""
        as_is = all(meaning.is_numbered and set(meaning.missing) <= {MISSING} for meaning in meanings)
        ours = all(marks is None or set(marks) <= {MISSING} for marks in missing)
        if not (as_is and ours) or (self.is_real and any(meaning.missing for meaning in meanings)):
            return super().encoded(names, meanings, missing)
        if self.is_real:
            return np.ascontiguousarray(np.where(np.isnan(self.labels), MISSING, self.labels), dtype_of(meanings))
        return np.ascontiguousarray(self.labels, dtype=dtype_of(meanings))


class SeparateColumns(LabelColumns):
    """Columns of their own types: of a data frame, of a mapping from names to arrays."""

    def __init__(self, names: Sequence[str], columns: Sequence[Any]) -> None:
        self.read = [column_of(name, column) for name, column in zip(names, columns, strict=True)]
        self.n_columns = len(self.read)
        lengths = {len(column.values) for column in self.read}
        if len(lengths) > 1:
            raise InputError(f"the columns of labels have different lengths: {', '.join(map(str, sorted(lengths)))}")
        self.n_rows = lengths.pop() if lengths else 0

    def distinct(self, names: Sequence[str], missing: Sequence[Marks | None]) -> list[Distinct]:
        """Return the distinct values of each column, without those that a setting calls missing."""
        del names
        return [column.distinct() for _, column in self.columns(missing)]

    def columns(self, missing: Sequence[Marks | None]) -> Iterator[tuple[int, Column]]:
        """Return the number of each column, and the column."""
        for t, column in enumerate(self.read):
            yield t, column.without(missing[t])


def meanings_of(
    columns: LabelColumns,
    names: Sequence[str],
    kinds: Sequence[TaskKind | None],
    missing: Sequence[Marks | None],
    *,
    may_be_empty: bool = False,
) -> list[Meaning]:
    """Tell what each of K columns means.

    Args:
        columns: of labels.
        names: of the tasks.
        kinds: those that are given.
        missing: marks of missing labels that are given.
        may_be_empty: whether columns without a label are for somebody else to drop.

    Raises:
        InputError: a column has no label, does not fit the kind that is given, or may mean two things.
    """
    found = columns.distinct(names, missing)
    habits = Habits.of(found, missing)
    return [
        NOTHING
        if may_be_empty and (column.n_rows == 0 or (marks is None and column.has(MISSING)))
        else meaning_of(name, column, kind, habits, marks_given=marks is not None)
        for name, column, kind, marks in zip(names, found, kinds, missing, strict=True)
    ]
