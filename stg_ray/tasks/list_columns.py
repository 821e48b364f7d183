"""Columns that list the names of a row's labels, as a column of 0 and 1 for each label."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stg_ray.errors import InputError, one_line
from stg_ray.tasks import texts
from stg_ray.tasks.notes import DataWarning

if TYPE_CHECKING:
    import pyarrow as pa


def indicators(lists: pa.Array, known: Sequence[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Return the names of the L labels that occur in N lists, and which of them each row has (N, L).

    Args:
        lists: lists of text or of whole numbers.
        known: names of the labels, where the lists hold numbers.

    Raises:
        InputError: a number has no name.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    flat = pc.list_flatten(lists)
    parents = np.asarray(pc.list_parent_indices(lists))
    flat = flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat
    flat = pc.utf8_trim_whitespace(flat.cast(pa.string()))
    labels = sorted(set(flat.unique().to_pylist()) - {None, ""})
    if pa.types.is_integer(lists.type.value_type):
        labels.sort(key=int)
    if alike := texts.alike(labels):
        found = f"the labels {alike[0]!r} and {alike[1]!r} differ in upper and lower case only"
        warnings.warn(found, DataWarning, stacklevel=2)
    codes = np.asarray(pc.fill_null(pc.index_in(flat, pa.array(labels, pa.string())), -1))
    matrix = np.zeros((len(lists), len(labels)), dtype=bool, order="F")
    matrix[parents[codes >= 0], codes[codes >= 0]] = True
    if known is None:
        return labels, matrix
    if strange := [label for label in labels if not 0 <= int(label) < len(known)]:
        raise InputError(f"a list holds the label {strange[0]}: expected 0 to {len(known) - 1}, as there are names for")
    return [known[int(label)] for label in labels], matrix


def with_lists_as_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns of labels in which a column of 0 and 1 for each label stands for one that lists names.

    An empty list is none of the labels; beside empty ones, null is missing.

    Args:
        columns: columns of N labels by name, in whatever container.

    Raises:
        InputError: lists of something else, or null where no list is empty, or two labels of one name.
    """
    lists = {name: found for name, column in columns.items() if (found := _lists(name, column)) is not None}
    if not lists:
        return dict(columns)
    result: dict[str, Any] = {}
    for name, column in columns.items():
        found = {name: column}
        if name in lists:
            found = {
                f"{name}/{label}" if len(lists) > 1 else label: own for label, own in _told(name, lists[name]).items()
            }
        if both := set(found) & set(result):
            raise InputError(f"two columns of labels give a task named {min(both)!r}: rename one")
        result |= found
    return result


def _told(name: str, lists: pa.Array) -> dict[str, pa.Array]:
    """Return which rows have each label, null where it is not known."""
    import pyarrow as pa

    labels, has = indicators(lists)
    null = np.asarray(lists.is_null())
    if null.any() and not (~has.any(axis=1) & ~null).any():
        raise InputError(
            f"the label column {name!r} is null in {int(null.sum()):,} of {len(null):,} rows, and no list is empty: "
            "have these none of the labels? Write []; are they not known? Give a column of 0, 1 and null for each label"
        )
    if not labels:
        raise InputError(f"the column {name!r} of lists of label names has no label in any row")
    return {label: pa.array(own, mask=null) for label, own in zip(labels, has.T, strict=True)}


def _lists(name: str, column: Any) -> pa.Array | None:
    """Return a column that holds lists of texts as such, None for any other."""
    import pyarrow as pa

    if not isinstance(column, pa.Array | pa.ChunkedArray):
        first = next((value for value in column if value is not None), None) if _may_hold_lists(column) else None
        if not isinstance(first, list | tuple | set | frozenset | np.ndarray):
            return None
        if strange := [value for value in column if isinstance(value, str)]:
            raise InputError(
                f"the labels of task {name!r} cannot be read: there are lists beside the text {strange[0]!r}, write "
                f"[{strange[0]!r}]"
            )
        try:
            column = pa.array([None if _is_gap(value) else list(value) for value in column])
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise InputError(f"the labels of task {name!r} cannot be read: {one_line(error)}") from error
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return None
    value = kind.value_type.value_type if pa.types.is_dictionary(kind.value_type) else kind.value_type
    is_view = getattr(pa.types, "is_string_view", lambda _: False)
    if not (pa.types.is_string(value) or pa.types.is_large_string(value) or is_view(value)):
        return None
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _may_hold_lists(column: Any) -> bool:
    return isinstance(column, list | tuple) or str(getattr(column, "dtype", "")) == "object"


def _is_gap(value: Any) -> bool:
    return value is None or isinstance(value, float)  # NaN, as pandas has it
