"""The rows of sparse ARFF files, `{1 0.5, 7 yes}`: what a row leaves out is 0, or the first category."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stg_ray.data.arff_header import QUOTED, Attribute, unquoted
from stg_ray.errors import InputError

CELL = re.compile(rf"\s*(\d+)\s+({QUOTED}|[^,\s]+)\s*(?:,\s*|$)")


class SparseCells:
    """The cells of N rows that are written, as numbers: of a text its place among the attribute's categories.

    Args:
        path: the file, for messages.
        attributes: its columns.
        lines: its rows.

    Raises:
        InputError: a row is no sparse one, or has a value that its attribute cannot have.
    """

    def __init__(self, path: Path, attributes: Sequence[Attribute], lines: Iterator[str]) -> None:
        self.path, self.attributes = path, attributes
        self.texts = {
            t: {text: place for place, text in enumerate(attribute.categories or ())}
            for t, attribute in enumerate(attributes)
            if attribute.is_text
        }
        columns, values, lengths = array("i"), array("d"), array("q")
        for number, line in enumerate(lines):
            cells = dict(self._cells(number, line.strip()))
            columns.extend(cells)
            values.extend(cells.values())
            lengths.append(len(cells))
        self.starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        self.columns, self.values = np.array(columns, np.int32), np.array(values, np.float64)
        self.order = np.argsort(self.columns, kind="stable")
        self.bounds = np.searchsorted(self.columns[self.order], np.arange(len(attributes) + 1))
        self.rows = np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.starts))[self.order]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _cells(self, number: int, row: str) -> Iterator[tuple[int, float]]:
        """Yield the columns and values of a row."""
        if not (row.startswith("{") and row.endswith("}")):
            raise self._wrong(number, row)
        inside = row[1:-1].strip()
        if "'" in inside or '"' in inside:
            cells: Any = self._quoted(number, inside)
        elif "}" in inside:  # {...}, {0.5}: a weight of the row
            raise self._wrong(number, row)
        else:
            cells = (cell.split() for cell in inside.split(",")) if inside else ()
        for cell in cells:
            if len(cell) != 2 or not cell[0].isdecimal():
                raise self._wrong(number, " ".join(cell))
            index = int(cell[0])
            if index >= len(self.attributes):
                raise InputError(
                    f"{self.path}: row {number} has the index {index}, and there are {len(self.attributes)} attributes"
                )
            yield index, self._number(index, cell[1])

    def _quoted(self, number: int, inside: str) -> Iterator[tuple[str, str]]:
        place = 0
        while place < len(inside):
            match = CELL.match(inside, place)
            if match is None:
                raise self._wrong(number, inside[place:])
            yield match[1], match[2]
            place = match.end()

    def _wrong(self, number: int, text: str) -> InputError:
        return InputError(f"{self.path}: the row {number} of the data is {text[:40]!r}: expected {{index value, ...}}")

    def _number(self, index: int, text: str) -> float:
        if text == "?":
            return np.nan
        attribute = self.attributes[index]
        if index in self.texts:
            places = self.texts[index]
            text = unquoted(text)
            if attribute.categories and text not in places:
                raise InputError(
                    f"{self.path}: the attribute {attribute.name!r} has the value {text!r}, which is none of its "
                    f"categories {', '.join(attribute.categories[:5])}"
                )
            return places.setdefault(text, len(places))
        try:
            return float(text if text[0] not in "'\"" else unquoted(text))
        except ValueError:
            raise InputError(f"{self.path}: the attribute {attribute.name!r} is no number: {text[:40]!r}") from None

    def column(self, index: int) -> pa.Array:
        """Return a column, filled up."""
        attribute, cells = self.attributes[index], slice(self.bounds[index], self.bounds[index + 1])
        values = np.full(len(self), self._default(attribute), np.float64)
        values[self.rows[cells]] = self.values[self.order[cells]]
        if index not in self.texts:
            self._check_categories(attribute, values)
            return pa.array(values, from_pandas=True).cast(attribute.type)
        codes = pa.array(values, from_pandas=True).cast(pa.int32())
        return pa.array(list(self.texts[index]), pa.string()).take(codes)

    def _default(self, attribute: Attribute) -> float:
        """Return the value of what is left out: 0, the number or place of the first category, nothing for text."""
        if attribute.is_text:
            return 0.0 if attribute.categories else np.nan
        return float(attribute.categories[0]) if attribute.categories else 0.0

    def _check_categories(self, attribute: Attribute, values: np.ndarray) -> None:
        if attribute.categories:
            strange = values[~np.isnan(values) & ~np.isin(values, [float(text) for text in attribute.categories])]
            if len(strange):
                raise InputError(
                    f"{self.path}: the attribute {attribute.name!r} has the value {strange[0]:g} (in {len(strange):,} "
                    f"rows), which is none of its categories {', '.join(attribute.categories[:5])}"
                )

    def matrix(self, indices: Sequence[int]) -> Any:
        """Return some columns (N, F) of numbers as a sparse matrix; None where one is text or not mostly 0."""
        import scipy.sparse

        chosen = [self.attributes[index] for index in indices]
        if any(attribute.is_text or self._default(attribute) != 0 for attribute in chosen):
            return None
        shape = (len(self), len(self.attributes))
        with np.errstate(over="ignore"):  # what exceeds float32 is found where it is read
            values = self.values.astype(np.float32)
        whole = scipy.sparse.csr_array((values, self.columns, self.starts), shape)
        return whole[:, np.asarray(indices)]
