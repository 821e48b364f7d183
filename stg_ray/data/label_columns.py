"""The labels of a table, a column of its own type for each task: numbers, text, and lists of label names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.errors import InputError

MAX_TEXT_CLASSES = 1000
"""A column of text with more values than this is no column of classes."""

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


class LabelColumns:
    """The labels of N rows in K columns, gathered a batch at a time.

    Args:
        schema: the types of the K columns over all files.
        key: the configuration's section, for messages.
        separator: separator of the label names in columns of text.

    Raises:
        InputError: a column of a type that holds no labels.
    """

    def __init__(self, schema: pa.Schema, key: str, separator: str | None = None) -> None:
        self.schema, self.key, self.separator = schema, key, separator
        self.chunks: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
        for field in schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            if pa.types.is_null(kind):
                raise InputError(f"the label column {field.name!r} is null in all rows: leave it out of {key}.labels")
            vectors = _is_list(kind) and _is_number(kind.value_type)
            if not (_is_number(kind) or pa.types.is_string(kind) or vectors or _is_list_of_names(kind)):
                raise InputError(
                    f"the label column {field.name!r} is {field.type}: expected numbers, text or lists of label names, "
                    "null where missing"
                )

    def add(self, batch: pa.RecordBatch) -> None:
        """Append the labels of a batch of rows."""
        for name, chunks in self.chunks.items():
            chunks.append(batch.column(name))

    def tasks(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the labels as arguments of `TaskSet.from_arrays`.

        Args:
            names: a name for each column.

        Raises:
            InputError: text that holds no classes, or two tasks of one name.
        """
        columns: dict[str, pa.ChunkedArray] = {}
        lists = [name for name in self.schema.names if self._is_list(name)]
        for name, task in zip(self.schema.names, names, strict=True):
            column = pa.chunked_array(self.chunks.pop(name), self.schema.field(name).type)
            vectors = _vector_columns(column) if _is_list(column.type) else None
            if vectors is not None:
                found: dict[str, Any] = {f"{task}_{i}": vector for i, vector in enumerate(vectors)}
            elif name in lists:
                known = names_of_labels(self.schema, name)
                own = indicators(self._as_lists(column), known)
                if not own:
                    raise InputError(f"the column {name!r} of lists of label names has no label in any row")
                found = {f"{task}/{label}" if len(lists) > 1 else label: v for label, v in own.items()}
            else:
                self._check_text(name, column)
                found = {task: column}
            if both := set(found) & set(columns):
                raise InputError(f"two columns of {self.key}.labels give a task named {min(both)!r}: rename one")
            columns |= found
        return {"labels": columns}

    def _is_list(self, name: str) -> bool:
        kind = self.schema.field(name).type
        return _is_list_of_names(kind) or (self.separator is not None and _is_text(kind))

    def _as_lists(self, column: pa.ChunkedArray) -> pa.Array:
        array = column.combine_chunks()
        array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
        return pc.split_pattern(array, self.separator) if pa.types.is_string(array.type) else array

    def _check_text(self, name: str, column: pa.ChunkedArray) -> None:
        """Refuse text that is no column of classes."""
        if not _is_text(column.type):
            return
        values = column.cast(pa.string()).unique().drop_null()
        if len(values) > MAX_TEXT_CLASSES and not NUMBER.fullmatch(values[0].as_py()):
            raise InputError(
                f"the label column {name!r} holds text with {len(values):,} different values such as "
                f"{values[0].as_py()!r}: expected classes (where it lists several labels, set {self.key}.separator)"
            )


def _vector_columns(column: pa.ChunkedArray) -> list[pa.ChunkedArray] | None:
    """Return the K columns of vectors (N, K) of labels; None for lists that name labels.

    Vectors have one length, from 2, and real numbers, or no whole numbers but 0 and 1.
    """
    lists = column.combine_chunks()
    if not _is_number(lists.type.value_type):
        return None
    lengths = set(pc.list_value_length(lists).drop_null().to_pylist())
    values = pc.list_flatten(lists)
    is_whole = pa.types.is_integer(values.type) and set(values.unique().to_pylist()) - {0, 1, None}
    if len(lengths) != 1 or lengths <= {0, 1} or is_whole:
        if pa.types.is_integer(values.type):
            return None
        raise InputError(
            f"a column of labels holds {lists.type} of {len(lengths)} lengths: expected vectors of one length from 2"
        )
    return [pa.chunked_array([pc.list_element(lists, i)]) for i in range(lengths.pop())]


def names_of_labels(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names that Hugging Face's metadata gives the numbers in a column, or in its lists."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    feature = features.get(column, {})
    while isinstance(feature, list) or "feature" in feature:  # [feature], as older versions write lists
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    names: list[str] | None = feature.get("names")
    return names


def indicators(lists: pa.Array, known: Sequence[str] | None = None) -> dict[str, pa.ChunkedArray]:
    """Return, for each label that occurs in N lists of label names, whether a row (N,) has it; null where its list is.

    Args:
        lists: lists of text or of whole numbers.
        known: names of the labels, where the lists hold numbers.
    """
    flat = pc.list_flatten(lists)
    parents = np.asarray(pc.list_parent_indices(lists))
    flat = flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat
    flat = pc.utf8_trim_whitespace(flat.cast(pa.string()))
    labels = sorted(set(flat.unique().to_pylist()) - {None, ""})
    if pa.types.is_integer(lists.type.value_type):
        labels.sort(key=int)
    codes = np.asarray(pc.fill_null(pc.index_in(flat, pa.array(labels, pa.string())), -1))
    matrix = np.zeros((len(lists), len(labels)), dtype=bool, order="F")
    matrix[parents[codes >= 0], codes[codes >= 0]] = True
    missing = lists.is_null().to_numpy(zero_copy_only=False)
    names = labels if known is None else [known[int(label)] for label in labels]
    return {name: pa.chunked_array([pa.array(has, mask=missing)]) for name, has in zip(names, matrix.T, strict=True)}


def _is_number(kind: pa.DataType) -> bool:
    numbers = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal)
    return any(test(kind) for test in numbers)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_list_of_names(kind: pa.DataType) -> bool:
    if not _is_list(kind):
        return False
    value = kind.value_type
    return bool(_is_text(value) or pa.types.is_large_string(value) or pa.types.is_integer(value))
