"""Columns of labels in whatever container (NumPy, pandas, Arrow, lists), as plain numbers or texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.errors import InputError, one_line
from stg_ray.tasks.column_types import in_words, is_list
from stg_ray.tasks.kinds import Distinct

if TYPE_CHECKING:
    import pyarrow as pa

Marks = Sequence[int | float | str]
"""Values that mark what is missing."""

NO_TEXT = ("", "nan", "<na>", "nat")
"""Texts that are no label, in whatever case: what is written where there is none."""
NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?|[+-]?\.[0-9]+")
"""Numbers written as text. Codes with a leading zero, such as 007, are names."""
SMALL_RANGE = 2**16
"""Whole numbers in such a range are counted without being sorted."""


@dataclass(frozen=True)
class Column:
    """A column of labels.

    Attributes:
        values: (N,) numbers, or indices into `texts`.
        present: (N,) where there is a label.
        is_category: whether the column's type says that these are classes.
        texts: distinct texts, if it is a column of text.
    """

    values: np.ndarray
    present: np.ndarray
    is_category: bool = False
    texts: tuple[str, ...] | None = None

    def without(self, marks: Marks | None) -> Column:
        """Return the column with labels that equal a mark missing, and texts that are all numbers as numbers."""
        column = self
        if column.texts is not None:
            column = _as_numbers(column.without_texts([*NO_TEXT, *map(str, marks or ())]))
        numbers = [float(mark) for mark in marks or () if not isinstance(mark, str) or NUMBER.fullmatch(mark.strip())]
        if numbers and column.texts is None:
            column = replace(column, present=column.present & ~np.isin(column.values, numbers))
        return column

    def without_texts(self, marks: Sequence[str]) -> Column:
        """Return a column of text in which these are missing, in whatever case; spaces around texts do not count."""
        texts = [text.strip() for text in self.texts or ()]
        gone = {mark.strip().lower() for mark in marks}
        kept = sorted({text for text in texts if text.lower() not in gone})
        place = {text: i for i, text in enumerate(kept)}
        codes = np.array([place.get(text, -1) for text in texts] or [-1], np.int32)[self.values]
        return replace(self, values=codes, present=self.present & (codes >= 0), texts=tuple(kept))

    def distinct(self) -> Distinct:
        """Return its distinct values."""
        values = self.values if self.present.all() else self.values[self.present]
        found, counts = unique(values)
        return Distinct(
            found,
            counts,
            len(values),
            gaps=len(values) < len(self.values),
            is_real=self.values.dtype.kind == "f",
            is_category=self.is_category,
            texts=self.texts,
        )


def unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct numbers in ascending order, and how often each occurs."""
    if len(values) and values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if high - low < SMALL_RANGE and high < 2**63:
            counts = np.bincount(values.astype(np.int64) - low)
            found = np.flatnonzero(counts)
            return found + low, counts[found]
    return np.unique(values, return_counts=True)


def column_of(name: str, data: Any) -> Column:
    """Return a column of labels as it is meant.

    Args:
        name: of the task.
        data: N labels: a NumPy or Arrow array, a pandas series, a list. Missing ones are None, NaN or null.

    Raises:
        InputError: it holds neither numbers nor texts nor booleans, or more than one of these.
    """
    import pyarrow as pa

    if isinstance(data, np.ndarray) and data.dtype.kind in "biuf":
        values, is_number = _numbers(np.ma.getdata(data))
        return Column(
            values, is_number & ~np.ma.getmaskarray(data) if isinstance(data, np.ma.MaskedArray) else is_number
        )
    if not isinstance(data, pa.Array | pa.ChunkedArray):
        try:
            data = pa.array(data.tolist() if isinstance(data, np.ndarray) else data, from_pandas=True)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise InputError(f"the labels of task {name!r} cannot be read: {one_line(error)}") from error
    column = data if isinstance(data, pa.ChunkedArray) else pa.chunked_array([data])
    is_category = pa.types.is_dictionary(column.type)
    if is_category:
        of_values = pa.large_string() if _is_text(column.type.value_type) else column.type.value_type
        # Not by one cast, which Arrow lacks for views of text.
        chunks = [chunk.dictionary.cast(of_values).take(chunk.indices) for chunk in column.chunks]
        column = pa.chunked_array(chunks, of_values)
    kind = column.type
    if _is_text(kind):
        encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
        present = encoded.is_valid().to_numpy(zero_copy_only=False)
        codes = encoded.indices.fill_null(0).to_numpy()
        return Column(codes, present, is_category, tuple(encoded.dictionary.to_pylist()))
    if pa.types.is_null(kind):
        return Column(np.zeros(len(column), np.int8), np.zeros(len(column), dtype=bool))
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        if not pa.types.is_boolean(kind):
            of_lists = "lists of names, one column for each number of the lists, " if is_list(kind) else ""
            raise InputError(
                f"the column {name!r} holds {in_words(kind)}: expected {of_lists}numbers, texts or booleans for a "
                "label, null where it is missing"
            )
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(kind) or kind == pa.float16():
        column = column.cast(pa.float64())
    return _of_numbers(column, is_category)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    is_view = getattr(pa.types, "is_string_view", lambda _: False)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or is_view(kind))


def _of_numbers(column: pa.ChunkedArray, is_category: bool) -> Column:
    """Return a column of numbers, which may have nulls beside NaN."""
    import pyarrow as pa

    if column.null_count == 0:
        return Column(*_numbers(column.to_numpy()), is_category)
    present = column.is_valid().to_numpy()
    zero = pa.scalar(0, column.type)
    values, is_number = _numbers(column.fill_null(zero).to_numpy())
    return Column(values, present & is_number, is_category)


def plain(values: np.ndarray) -> np.ndarray:
    """Return numbers in a type that holds all marks: booleans as 0 and 1, halves and long doubles as doubles."""
    if values.dtype.kind == "b":
        return values.astype(np.int8)
    return values.astype(np.float64) if values.dtype.kind == "f" and values.dtype.itemsize not in (4, 8) else values


def _numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, and where they are any."""
    values = plain(values)
    return values, ~np.isnan(values) if values.dtype.kind == "f" else np.ones(len(values), dtype=bool)


def _as_numbers(column: Column) -> Column:
    """Return a column of text that are all numbers, or true and false, as one of numbers; else as it is."""
    texts = column.texts or ()
    if not texts:
        return Column(np.zeros(len(column.values), np.int8), column.present, column.is_category)
    if {text.lower() for text in texts} <= {"true", "false"}:
        numbers = np.array([text.lower() == "true" for text in texts], np.int8)
    elif all(NUMBER.fullmatch(text) for text in texts):
        numbers = np.array([float(text) for text in texts])
        if (np.trunc(numbers) == numbers).all() and (np.abs(numbers) < 2**53).all():
            whole = not any("." in text or "e" in text.lower() for text in texts)
            numbers = numbers.astype(np.int64) if whole else numbers
    else:
        return column
    return Column(numbers[np.maximum(column.values, 0)], column.present, column.is_category)
