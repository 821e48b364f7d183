"""Labels that come row by row, gathered in one matrix: numbers in a small type, or codes of texts."""

from __future__ import annotations

from typing import Any

import numpy as np


class GatheredLabels:
    """The labels of N rows.

    Whole numbers are held in the smallest type that has them. Once a text is met, all labels are held as codes of
    texts; numbers that are written as text mean the same.

    Args:
        n_rows: N.

    Attributes:
        names: of the K tasks, where the rows give them.
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.names: list[str] | None = None
        self.matrix: np.ndarray = np.zeros((n_rows, 0), np.int8)
        self.codes: dict[str, int] | None = None

    @property
    def n_tasks(self) -> int:
        """K."""
        return int(self.matrix.shape[1])

    def add(self, row: int, labels: np.ndarray) -> None:
        """Take the labels (K,) of a row: numbers or texts, None where one is missing."""
        if row == 0:
            self.matrix = np.zeros((self.n_rows, len(labels)), np.int8)
        may_be_text = labels.dtype.kind in "UO"
        if self.codes is None and may_be_text and any(isinstance(value, str) for value in labels.tolist()):
            self._become_codes(row)
        if self.codes is not None:
            self.matrix[row] = [self._code(value) for value in labels.tolist()]
            return
        numbers = labels.astype(np.float64) if may_be_text else labels  # None becomes NaN
        if numbers.dtype.kind == "f":
            dtype = np.promote_types(self.matrix.dtype, numbers.dtype)
        else:
            dtype = self.matrix.dtype
            for end in (numbers.min(initial=0), numbers.max(initial=0)) if dtype.kind in "iu" else ():
                dtype = np.promote_types(dtype, np.min_scalar_type(int(end)))
        if dtype != self.matrix.dtype:
            self.matrix = self.matrix.astype(dtype)
        self.matrix[row] = numbers

    def _code(self, value: object) -> int:
        assert self.codes is not None, "called for texts"
        return -1 if value is None else self.codes.setdefault(str(value), len(self.codes))

    def _become_codes(self, n_filled: int) -> None:
        self.codes = {}
        codes = np.full(self.matrix.shape, -1, np.int32)
        for row in range(n_filled):
            codes[row] = [self._code(value) for value in self.matrix[row].tolist()]
        self.matrix = codes

    def finished(self) -> Any:
        """Return the labels as `TaskSet.from_arrays` takes them: a matrix (N, K), or columns by name."""
        if self.codes is None:
            return self.matrix
        import pyarrow as pa

        texts = pa.array(list(self.codes), pa.string())
        names = self.names or [f"task_{t}" for t in range(self.n_tasks)]
        return {
            name: texts.take(pa.array(column, mask=column < 0))
            for name, column in zip(names, np.ascontiguousarray(self.matrix.T), strict=True)
        }
