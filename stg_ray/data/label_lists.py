"""Columns that list the labels of a row: lists of names or numbers, and text with a separator."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stg_ray.errors import InputError, unknown
from stg_ray.tasks.column_types import in_words

NO_LIST = ("?", "na", "n/a", "#n/a", "nan", "null", "none", "<na>")
"""Texts, in whatever case, that stand where a row lists no label; they are taken for null."""


@dataclass(frozen=True)
class ListRules:
    """The settings about columns that list labels.

    Attributes:
        key: the configuration's section, for messages.
        separator: of the names in text: one for all columns of text in which it occurs, or one by column.
        empty: meaning of rows that list no label, which has none of them or is not known; None where it is to be told.
    """

    key: str
    separator: str | Mapping[str, str] | None = None
    empty: Literal["none", "missing"] | None = None

    def separator_of(self, name: str, column: pa.ChunkedArray) -> str | None:
        """Return the separator of a column; None where it lists no labels, or is not text.

        Raises:
            InputError: a setting gives one to a column that is not text.
        """
        if not isinstance(self.separator, str):
            separator = (self.separator or {}).get(name)
            if separator is not None and not (is_text(column.type) or pa.types.is_integer(column.type)):
                found = in_words(column.type)
                raise InputError(f"{self.key}.separator: the label column {name!r} holds {found}: expected text")
            return separator
        if not is_text(column.type):
            return None
        holds = pc.any(pc.match_substring(_cells(column), self.separator)).as_py()
        return self.separator if holds else None

    def check_columns(self, names: Sequence[str], separated: Sequence[str]) -> None:
        """Refuse a separator that no label column has.

        Args:
            names: of the label columns.
            separated: those among them that have a separator.

        Raises:
            InputError: there is a separator and no such column.
        """
        if isinstance(self.separator, str):
            if not separated:
                raise InputError(
                    f"{self.key}.separator: no label column of text holds {self.separator!r} in any row (where every "
                    f"row has one label, name the column: separator: {{{names[0]}: {self.separator!r}}})"
                )
            return
        for name in self.separator or {}:
            if name not in names:
                raise InputError(f"{self.key}.separator: {unknown(name, names, 'label column')}")

    def missing(self, name: str, lists: pa.Array, nameless: np.ndarray, *, typed: bool) -> np.ndarray:
        """Return where (N,) the labels of a row are not known.

        Where a column has nulls and empty ones, the former are missing and the latter are none of the labels. An empty
        list in a column of lists is none of the labels by itself.

        Args:
            name: of the column.
            lists: (N,) lists of labels.
            nameless: (N,) rows that list no label, nulls among them.
            typed: whether the column holds lists, not text.

        Raises:
            InputError: rows list no label, which may mean either.
        """
        if self.empty is not None:
            return nameless if self.empty == "missing" else np.zeros(len(lists), dtype=bool)
        null: np.ndarray = lists.is_null().to_numpy(zero_copy_only=False)
        has_empty = bool((nameless & ~null).any())
        if not nameless.any() or (has_empty and (null.any() or typed)):
            return null
        raise InputError(
            f"the label column {name!r} is {'empty' if has_empty else 'empty or null'} in {int(nameless.sum()):,} "
            f"of {len(lists):,} rows, the first is row {int(nameless.argmax())}: have these none of the labels, or are "
            f"they not known? Set {self.key}.empty to none or to missing"
        )


def lists_of(column: pa.ChunkedArray, separator: str | None) -> pa.Array:
    """Return a column as lists of labels: text is split at the separator, and null where it stands for nothing."""
    if separator is None:
        return column.combine_chunks()
    return pc.split_pattern(_cells(column), separator).combine_chunks()


def _cells(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the texts of a column that lists labels, null where one stands for nothing."""
    cells = texts_of(column)
    bare = pc.utf8_lower(pc.utf8_trim_whitespace(cells))
    return pc.if_else(pc.is_in(bare, pa.array(NO_LIST)), None, cells)


def is_written(column: pa.ChunkedArray) -> bool:
    """Whether all texts of a column are lists as Python writes them, which pandas puts into CSV files."""
    if not is_text(column.type):
        return False
    cells = _cells(column)
    return cells.null_count < len(cells) and bool(pc.all(pc.match_substring_regex(cells, r"^\s*\[.*\]\s*$")).as_py())


def evaluated(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of texts such as `['red', 'round']` as lists.

    Raises:
        InputError: one is no list of texts or numbers.
    """
    lists: dict[str | None, list[str] | None] = {None: None}
    cells = _cells(column)
    for text in cells.unique().drop_null().to_pylist():
        try:
            if re.search(r"""['"]\s+['"]""", text):  # of NumPy; Python would join the names
                raise ValueError(text)
            values = ast.literal_eval(text.strip())
            lists[text] = [value if isinstance(value, str) else f"{value:g}" for value in values]
        except (ValueError, TypeError, SyntaxError) as error:
            raise InputError(
                f"the label column {name!r} holds {text[:60]!r}, which is no list: expected text such as ['a', 'b'], "
                "or names with a separator between them"
            ) from error
    return pa.chunked_array([pa.array([lists[text] for text in cells.to_pylist()], pa.list_(pa.string()))])


def names_of_labels(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names that Hugging Face's metadata gives the numbers in a column, or in its lists."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    feature = features.get(column, {})
    while isinstance(feature, list) or "feature" in feature:  # [feature], as older versions write lists
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    names: list[str] | None = feature.get("names")
    return names


def texts_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of text or numbers as one of plain text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string())


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, perhaps as a dictionary."""
    return bool(pa.types.is_string(kind.value_type if pa.types.is_dictionary(kind) else kind))
