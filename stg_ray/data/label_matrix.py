"""Columns of labels, each of its own type, as the one matrix that `TaskSet.from_arrays` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.data.images import large_array
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING

WORDS = (("no", "yes"), ("false", "true"), ("f", "t"), ("n", "y"), ("negative", "positive"))
"""Words for the labels 0 and 1."""


def arguments_of(columns: Mapping[str, pa.ChunkedArray]) -> dict[str, Any]:
    """Return labels, names and kinds as arguments of `TaskSet.from_arrays`.

    Whole numbers stay classes beside columns of real numbers. Text is the labels that it stands for: 0 and 1 for words
    such as yes, numbers for digits, else classes in the order of the alphabet.

    Args:
        columns: N labels of each task by name, null where missing.

    Raises:
        InputError: a whole number that is no class.
    """
    names = list(columns)
    plain = {name: _numbers(column) for name, column in columns.items()}
    n_rows = len(next(iter(plain.values())))
    whole = {name: _is_whole(column) for name, column in plain.items()}
    if all(whole.values()):
        labels = large_array((n_rows, len(names)), _smallest(plain))
        for t, name in enumerate(names):
            labels[:, t] = _filled(plain[name])
        return {"labels": labels, "names": names}
    labels = large_array((n_rows, len(names)), np.float32)
    kinds: list[str | None] = [None] * len(names)
    for t, name in enumerate(names):
        column = plain[name]
        if not whole[name]:
            labels[:, t] = column.cast(pa.float32()).to_numpy()
            continue
        values = _filled(column)
        labels[:, t] = np.where(values == MISSING, np.nan, values)
        kinds[t] = "multiclass" if values.max(initial=0) > 1 else None
    return {"labels": labels, "names": names, "kinds": kinds}


def _smallest(columns: Mapping[str, Any]) -> type:
    """Return the smallest type that holds columns of whole numbers."""
    dtype: type = np.int8
    for name, column in columns.items():
        values = _filled(column)
        high, low = values.max(initial=0), values.min(initial=0)
        fits = [t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
        if not fits:
            raise InputError(f"the label column {name!r} has the value {max(high, -low)}, which is no class")
        dtype = max(dtype, fits[0], key=lambda t: np.dtype(t).itemsize)
    return dtype


def _is_whole(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_boolean(column.type))


def _filled(column: pa.ChunkedArray) -> np.ndarray:
    """Return whole numbers with -1 where missing."""
    if column.null_count:
        column = column.cast(pa.int64()) if column.type != pa.int8() else column
        return np.asarray(pc.fill_null(column, MISSING))
    return np.asarray(column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column)


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text as numbers, and other columns as they are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_string(column.type):
        return column
    texts = pc.utf8_trim_whitespace(column)
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    lower = pc.utf8_lower(texts)
    present = set(lower.unique().to_pylist()) - {None}
    for pair in WORDS:
        if present and present <= set(pair):
            return pc.index_in(lower, pa.array(pair), skip_nulls=True)
    for kind in (pa.int64(), pa.float64()):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return pc.index_in(texts, pa.array(sorted(set(texts.unique().to_pylist()) - {None})))
