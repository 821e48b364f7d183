"""Test rows whose inputs are those of a training row: their scores say little of rows that were never seen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from stg_ray.data.statistics import blocks
from stg_ray.tasks.sparse_rows import InputRows, SparseRows

TEST_ROWS = 10_000
"""Test rows, evenly spread, that are compared with all training rows."""
FEW_COLUMNS = 16
"""Whole numbers in fewer columns than this repeat by themselves."""


def repeated_share(inputs: InputRows, train: np.ndarray, test: np.ndarray) -> float | None:
    """Return the share of the test rows whose inputs are those of a training row; None where there are none.

    Args:
        inputs: (N, ...).
        train: numbers of the training rows.
        test: numbers of the test rows.
    """
    wanted = list(_hashes(inputs, test[:: max(1, len(test) // TEST_ROWS)]))
    common = set(wanted).intersection(_hashes(inputs, train))
    if not common or _is_coarse(inputs, test):
        return None
    return sum(each in common for each in wanted) / len(wanted)


def _hashes(inputs: InputRows, rows: np.ndarray) -> Iterator[int]:
    """Yield a hash of each row's inputs."""
    for block in blocks(rows):
        if isinstance(inputs, SparseRows):
            part = inputs.take(block)
            pairs = np.stack([part.columns.view(np.uint32), part.values.view(np.uint32)], axis=1)
            ends = part.starts.tolist()
            yield from (hash(pairs[start:end].tobytes()) for start, end in pairwise(ends))
        else:
            yield from (hash(row.tobytes()) for row in inputs[block])


def _is_coarse(inputs: InputRows, rows: np.ndarray) -> bool:
    if len(inputs.shape) > 2 or inputs.shape[1] >= FEW_COLUMNS:
        return False
    return all(bool((inputs[block] % 1 == 0).all()) for block in blocks(rows))
