"""The labels of a table, filled a batch at a time: columns of numbers, of text, and of lists of label names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.data.images import large_array
from stg_ray.errors import InputError
from stg_ray.tasks import MISSING

MAX_TEXT_CLASSES = 1000
"""A column of text with more values than this is no column of classes."""

WORDS = (("no", "yes"), ("false", "true"), ("f", "t"), ("n", "y"), ("off", "on"), ("0", "1"), ("negative", "positive"))
"""Words for the labels 0 and 1."""


class LabelColumns:
    """The labels of N rows and K columns.

    Whole numbers stand in one matrix, in the smallest type that holds them, with -1 for null, and real numbers in
    another, with NaN: a single column would be far apart in memory, and many tasks have many columns.

    Args:
        schema: the types of the K columns over all files.
        key: the configuration's section, for messages.
        n_rows: N.
        separator: separator of the label names in columns of text.

    Raises:
        InputError: a column of a type that holds no labels.
    """

    def __init__(self, schema: pa.Schema, key: str, n_rows: int, separator: str | None = None) -> None:
        self.schema, self.key, self.separator = schema, key, separator
        self.whole: list[str] = []
        self.real: list[str] = []
        self.other: dict[str, list[pa.Array]] = {}
        for field in schema:
            if pa.types.is_integer(field.type) or pa.types.is_boolean(field.type):
                self.whole.append(field.name)
            elif pa.types.is_floating(field.type) or pa.types.is_decimal(field.type):
                self.real.append(field.name)
            elif pa.types.is_string(field.type) or _is_list_of_names(field.type):
                self.other[field.name] = []
            elif pa.types.is_null(field.type):
                raise InputError(f"the label column {field.name!r} is null in all rows: leave it out of {key}.labels")
            else:
                raise InputError(
                    f"the label column {field.name!r} is {field.type}: expected numbers, text or lists of label names, "
                    "null where missing"
                )
        self.filled = 0
        self.integers = large_array((n_rows, len(self.whole)), np.int8)
        self.floats = large_array((n_rows, len(self.real)), np.float32)

    def add(self, batch: pa.RecordBatch) -> None:
        """Append the labels of a batch of rows."""
        rows = slice(self.filled, self.filled + len(batch))
        for t, name in enumerate(self.real):
            self.floats[rows, t] = batch.column(name).cast(pa.float32()).to_numpy(zero_copy_only=False)
        for t, name in enumerate(self.whole):
            values = pc.fill_null(batch.column(name).cast(pa.int64()), MISSING).to_numpy()
            self._widen_to(name, values)
            self.integers[rows, t] = values
        for name, kept in self.other.items():
            kept.append(batch.column(name))
        self.filled = rows.stop

    def _widen_to(self, name: str, values: np.ndarray) -> None:
        largest, smallest = values.max(initial=0), values.min(initial=0)
        if np.iinfo(self.integers.dtype).min <= smallest and largest <= np.iinfo(self.integers.dtype).max:
            return
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= smallest and largest <= np.iinfo(dtype).max:
                wider = large_array(self.integers.shape, dtype)
                wider[: self.filled + len(values)] = self.integers[: self.filled + len(values)]
                self.integers = wider
                return
        raise InputError(f"the label column {name!r} has the value {max(largest, -smallest)}, which is no class")

    def tasks(self, names: Sequence[str]) -> dict[str, Any]:
        """Return labels and names as arguments of `TaskSet.from_arrays`.

        Args:
            names: a name for each column.

        Raises:
            InputError: text that holds no classes.
        """
        if not self.other and not (self.whole and self.real):  # the matrix itself, which may be large
            return {"labels": self.integers if self.whole else self.floats, "names": list(names)}
        columns: dict[str, np.ndarray] = {}
        for column, name in zip(self.schema.names, names, strict=True):
            for task, values in self._columns_of(column, name).items():
                if task in columns:
                    raise InputError(f"two columns of {self.key}.labels give a task named {task!r}: rename one")
                columns[task] = values
        return {**matrix_of(list(columns.values())), "names": list(columns)}

    def _columns_of(self, column: str, name: str) -> dict[str, np.ndarray]:
        """Return the label arrays (N,) of a column by task: several where it holds lists of names."""
        if column in self.whole:
            return {name: self.integers[:, self.whole.index(column)]}
        if column in self.real:
            return {name: self.floats[:, self.real.index(column)]}
        values = pa.chunked_array(self.other[column], self.schema.field(column).type).combine_chunks()
        if pa.types.is_string(values.type) and self.separator is None:
            return {name: self._coded(column, values)}
        if pa.types.is_string(values.type):
            values = pc.split_pattern(values, self.separator)
        several = len(self.other) > 1
        known = names_of_labels(self.schema, column)
        return {f"{name}/{label}" if several else label: array for label, array in indicators(values, known).items()}

    def _coded(self, column: str, texts: pa.Array) -> np.ndarray:
        """Return text as the labels that it stands for: 0 and 1 for words, numbers for digits, else classes."""
        texts = pc.utf8_trim_whitespace(texts)
        texts = pc.if_else(pc.equal(texts, ""), None, texts)
        lower = pc.utf8_lower(texts)
        present = set(lower.unique().to_pylist()) - {None}
        for pair in WORDS:
            if present and present <= set(pair):
                return np.asarray(pc.fill_null(pc.index_in(lower, pa.array(pair)), MISSING), np.int32)
        try:
            return np.asarray(texts.cast(pa.float64()).to_numpy(zero_copy_only=False))
        except pa.ArrowInvalid:
            pass
        classes = sorted(set(texts.unique().to_pylist()) - {None})
        if len(classes) > MAX_TEXT_CLASSES:
            raise InputError(
                f"the label column {column!r} holds text with {len(classes):,} different values such as "
                f"{classes[0]!r}: expected classes (where it lists several labels, set {self.key}.separator)"
            )
        return np.asarray(pc.fill_null(pc.index_in(texts, pa.array(classes)), MISSING), np.int32)


def names_of_labels(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names that Hugging Face's metadata gives the numbers in a column, or in its lists."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    feature = features.get(column, {})
    while isinstance(feature, list) or "feature" in feature:  # [feature], as older versions write lists
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    names: list[str] | None = feature.get("names")
    return names


def indicators(lists: pa.Array, known: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Return, for each label that occurs in lists of label names (N,), 0 and 1 by row (N,), -1 where null.

    Args:
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
    matrix = np.zeros((len(lists), len(labels)), np.int8, order="F")
    matrix[parents[codes >= 0], codes[codes >= 0]] = 1
    matrix[lists.is_null().to_numpy(zero_copy_only=False)] = MISSING
    names = labels if known is None else [known[int(label)] for label in labels]
    return dict(zip(names, matrix.T, strict=True))


def matrix_of(columns: Sequence[np.ndarray]) -> dict[str, Any]:
    """Return columns of labels (N,) as the arguments labels and kinds of `TaskSet.from_arrays`.

    Whole numbers stay classes beside columns of real numbers.
    """
    if all(column.dtype.kind in "biu" for column in columns):
        return {"labels": np.stack(columns, axis=1)}
    labels = np.empty((len(columns[0]), len(columns)), np.float64)
    kinds: list[str | None] = [None] * len(columns)
    for t, column in enumerate(columns):
        if column.dtype.kind == "f":
            labels[:, t] = column
            continue
        labels[:, t] = np.where(column == MISSING, np.nan, column)
        kinds[t] = "multiclass" if column.max(initial=0) > 1 else "binary"
    return {"labels": labels, "kinds": kinds}


def _is_list_of_names(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return False
    value = kind.value_type
    return bool(
        pa.types.is_string(value)
        or pa.types.is_large_string(value)
        or pa.types.is_dictionary(value)
        or pa.types.is_integer(value)
    )
