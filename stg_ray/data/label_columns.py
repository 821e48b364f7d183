"""The labels of a table, a column of its own type for each task: numbers, text, and lists of label names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.data.label_lists import (
    ListRules,
    evaluated,
    is_text,
    is_written,
    lists_of,
    names_of_labels,
)
from stg_ray.errors import InputError
from stg_ray.tasks.column_types import in_words, is_list
from stg_ray.tasks.list_columns import indicators

MAX_TEXT_CLASSES = 1000
"""A column of text with more values than this is no column of classes."""

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")


class LabelColumns:
    """The labels of N rows in K columns, gathered a batch at a time.

    Args:
        schema: the types of the K columns over all files.
        rules: settings about columns that list labels.

    Raises:
        InputError: a column of a type that holds no labels.
    """

    def __init__(self, schema: pa.Schema, rules: ListRules) -> None:
        self.schema, self.rules, self.key = schema, rules, rules.key
        self.chunks: dict[str, list[pa.Array]] = {name: [] for name in schema.names}
        for field in schema:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            vectors = is_list(kind) and _is_number(kind.value_type)
            if not (
                pa.types.is_null(kind)
                or _is_number(kind)
                or pa.types.is_string(kind)
                or vectors
                or _is_list_of_names(kind)
            ):
                raise InputError(
                    f"the label column {field.name!r} holds {in_words(field.type)}: expected numbers, text or lists of "
                    "label names, null where missing"
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
            InputError: text that holds no classes, rows that list no label and may mean two things, or two tasks of one
                name.
        """
        whole = {name: pa.chunked_array(self.chunks.pop(name), self.schema.field(name).type) for name in [*self.chunks]}
        whole = {name: evaluated(name, column) if is_written(column) else column for name, column in whole.items()}
        separators = {name: self.rules.separator_of(name, column) for name, column in whole.items()}
        self.rules.check_columns(self.schema.names, [name for name, own in separators.items() if own is not None])
        lists = [name for name, own in separators.items() if own is not None or _is_list_of_names(whole[name].type)]
        columns: dict[str, Any] = {}
        for name, task in zip(self.schema.names, names, strict=True):
            column = whole.pop(name)
            vectors = _vector_columns(column) if is_list(column.type) else None
            if vectors is not None:
                found: dict[str, Any] = {f"{task}_{i}": vector for i, vector in enumerate(vectors)}
            elif name in lists:
                own = self._listed(name, lists_of(column, separators[name]), typed=separators[name] is None)
                found = {f"{task}/{label}" if len(lists) > 1 else label: v for label, v in own.items()}
            else:
                self._check_text(name, column)
                found = {task: column}
            if both := set(found) & set(columns):
                raise InputError(f"two columns of {self.key}.labels give a task named {min(both)!r}: rename one")
            columns |= found
        return {"labels": columns}

    def _listed(self, name: str, lists: pa.Array, *, typed: bool) -> dict[str, pa.Array]:
        """Return, for each label that occurs in N lists, whether a row (N,) has it, null where it is not known."""
        labels, has = indicators(lists, names_of_labels(self.schema, name))
        if not labels:
            raise InputError(f"the column {name!r} of lists of label names has no label in any row")
        missing = self.rules.missing(name, lists, has.sum(axis=1) == 0, typed=typed)
        return {label: pa.array(own, mask=missing) for label, own in zip(labels, has.T, strict=True)}

    def _check_text(self, name: str, column: pa.ChunkedArray) -> None:
        """Refuse text that is no column of classes."""
        if not is_text(column.type):
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
            f"a column of labels holds {in_words(lists.type)} of {len(lengths)} lengths: expected vectors of one "
            "length from 2"
        )
    return [pa.chunked_array([pc.list_element(lists, i)]) for i in range(lengths.pop())]


def _is_number(kind: pa.DataType) -> bool:
    numbers = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_floating, pa.types.is_decimal)
    return any(test(kind) for test in numbers)


def _is_list_of_names(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return False
    value = kind.value_type
    return bool(is_text(value) or pa.types.is_large_string(value) or pa.types.is_integer(value))
