"""Inputs of many columns of which few are filled, kept as compressed sparse rows, which become dense by batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stg_ray.errors import InputError

MANY_COLUMNS = 1000
"""Sparse inputs of fewer columns are made dense: they are small, and faster so."""
BLOCK_ROWS = 1024
FEW_FILLED = 0.1
"""Share of the numbers that are not 0 up to which inputs stay sparse; a number takes 8 bytes there instead of 4."""


@dataclass(frozen=True, eq=False)
class SparseRows:
    """N rows of F numbers, most of them 0; indexing makes rows dense.

    Attributes:
        starts: (N + 1,) place of the first number of each row, and the number of all.
        columns: columns of the numbers, row by row.
        values: the numbers, float32.
        n_columns: F.
    """

    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    n_columns: int

    @classmethod
    def of(cls, matrix: Any) -> SparseRows:
        """Take the rows of a sparse matrix of SciPy's.

        Raises:
            InputError: a number is not finite, or beyond float32.
        """
        matrix = matrix.tocsr()
        if matrix.dtype.kind not in "biuf":
            raise InputError(f"a sparse matrix of {matrix.dtype} cannot be used: expected real numbers")
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
        with np.errstate(over="ignore"):
            values = matrix.data.astype(np.float32)
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.searchsorted(matrix.indptr, bad.argmax(), side="right")) - 1
            raise InputError(
                f"inputs have NaN, infinite values or such beyond float32, the first in row {row}: fill or remove them"
            )
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), values, matrix.shape[1])

    @classmethod
    def of_dense(cls, array: np.ndarray) -> SparseRows:
        """Take the rows of an array (N, F) of finite numbers, a block at a time."""
        blocks = []
        for start in range(0, len(array), BLOCK_ROWS):
            block = array[start : start + BLOCK_ROWS]
            rows, columns = np.nonzero(block)
            starts = np.searchsorted(rows, np.arange(len(block) + 1))
            values = block[rows, columns].astype(np.float32)
            blocks.append(cls(starts, columns.astype(np.int32), values, array.shape[1]))
        return joined(blocks)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_filled(self) -> int:
        """How many numbers are written, most of them not 0."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return len(self), self.n_columns

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the numbers."""
        return np.dtype(np.float32)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return some rows (n, F), dense."""
        part = self.take(rows)
        dense = np.zeros(part.shape, np.float32)
        dense[np.repeat(np.arange(len(part)), np.diff(part.starts)), part.columns] = part.values
        return dense

    def take(self, rows: Any) -> SparseRows:
        """Return some rows, by a slice or their numbers."""
        chosen = np.arange(len(self))[rows]
        lengths = np.diff(self.starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return SparseRows(starts, self.columns[places], self.values[places], self.n_columns)

    def in_order(self, columns: np.ndarray) -> SparseRows:
        """Return the rows with their F columns in another order, given by their numbers."""
        places = np.empty(self.n_columns, np.int32)
        places[columns] = np.arange(self.n_columns, dtype=np.int32)
        moved = places[self.columns]
        sort = np.lexsort((moved, np.repeat(np.arange(len(self)), np.diff(self.starts))))  # within their rows
        return SparseRows(self.starts, moved[sort], self.values[sort], self.n_columns)

    def range(self) -> tuple[float, float]:
        """Return the least and the largest number, 0 among them if there is one."""
        zeros = [0.0] if len(self.values) < math.prod(self.shape) else []
        ends = [*zeros, *map(float, (self.values.min(), self.values.max()) if len(self.values) else ())]
        return min(ends), max(ends)

    def moments(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the sums of the numbers and of their squares (F,) over some rows, in float64."""
        part = self.take(rows)
        values = part.values.astype(np.float64)
        total, squares = (np.bincount(part.columns, own, self.n_columns) for own in (values, np.square(values)))
        return total, squares


def joined(parts: Sequence[SparseRows]) -> SparseRows:
    """Return the rows of several, one after the other."""
    offsets = np.cumsum([0] + [len(part.values) for part in parts])
    starts = [part.starts[1:] + offset for part, offset in zip(parts, offsets[:-1], strict=True)]
    return SparseRows(
        np.concatenate([np.zeros(1, np.int64), *starts]),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.values for part in parts]),
        parts[0].n_columns,
    )


def stays_sparse(matrix: Any) -> bool:
    """Whether inputs (N, F) in a sparse matrix of SciPy's stay sparse, see `MANY_COLUMNS` and `FEW_FILLED`."""
    n_rows, n_columns = matrix.shape
    return bool(n_columns > MANY_COLUMNS and matrix.nnz <= FEW_FILLED * n_rows * n_columns)


InputRows = np.ndarray | SparseRows
"""Inputs (N, ...): an array, or sparse rows (N, F), of which any selection is an array."""


def arrays_of(inputs: InputRows) -> list[np.ndarray]:
    """Return the arrays that inputs consist of."""
    if isinstance(inputs, np.ndarray):
        return [inputs]
    return [np.array([inputs.n_columns]), inputs.starts, inputs.columns, inputs.values]
