"""What is known of the inputs of a task set: their mean and spread, and whether they are whole numbers, or 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stg_ray.tasks.sparse_rows import InputRows, SparseRows

CONSTANT = 1.0
"""What stands for the standard deviation of a constant feature, which is not scaled."""
LARGEST_WHOLE = 2**24
"""Whole numbers from here on are not exact in float32, in which parts hold all inputs but bytes."""


def input_statistics(inputs: InputRows, rows: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation per channel (images) or feature, in float64, a block of rows at a time."""
    axes = (0, *range(2, len(inputs.shape)))  # all but that of channels or features
    total: Any = 0.0
    squares: Any = 0.0
    count = 0
    for block in blocks(rows):
        if isinstance(inputs, SparseRows):
            of_block = inputs.moments(block)
            count += len(block)
        else:
            values = inputs[block].astype(np.float64)
            of_block = values.sum(axis=axes), np.square(values).sum(axis=axes)
            count += values.size // values.shape[1]
        total, squares = total + of_block[0], squares + of_block[1]
    mean = np.asarray(total / count)
    variance = np.maximum(np.asarray(squares) / count - mean**2, 0)
    std = np.sqrt(variance)
    std[std <= 1e-6 * np.maximum(1, np.abs(mean))] = CONSTANT
    return tuple(mean.tolist()), tuple(std.tolist())


def common_std(inputs: InputRows, rows: np.ndarray, std: Sequence[float]) -> float | None:
    """Return the root of the mean variance of features that are 0 or 1 each; None where there is another number.

    Args:
        std: standard deviation of each feature, `CONSTANT` of those that do not vary, which do not count.
    """
    varying = [each for each in std if each != CONSTANT]
    if len(inputs.shape) > 2 or not varying:
        return None
    for block in blocks(rows):
        values = inputs.take(block).values if isinstance(inputs, SparseRows) else inputs[block]
        if not ((values == 0) | (values == 1)).all():
            return None
    return float(np.sqrt(np.mean(np.square(varying))))


def whole_range(inputs: InputRows, rows: np.ndarray) -> tuple[int, int] | None:
    """Return the least and largest of these rows' inputs where all may be ids; see `PartIndex.whole`."""
    if isinstance(inputs, SparseRows) or inputs.ndim > 3:
        return None
    low, high = math.inf, -math.inf
    for block in blocks(rows):
        values = inputs[block]
        if values.dtype.kind == "f" and (values[0] % 1 != 0).any():
            return None  # most sets of real numbers are told by their first row
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        if max(-low, high) >= LARGEST_WHOLE or (values.dtype.kind == "f" and (values % 1 != 0).any()):
            return None
    return None if low >= 0 and high <= 1 else (int(low), int(high))


def blocks(rows: np.ndarray, size: int = 4096) -> Iterator[np.ndarray]:
    """Cut row numbers into blocks, which are looked at one after the other."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
