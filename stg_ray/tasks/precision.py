"""Numbers that float32 tells apart too coarsely: large ones that vary little, such as times in seconds since 1970.

Labels of regressions and inputs are stored, and networks compute, in float32, which has 24 binary digits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stg_ray.errors import InputError

DIGITS = 24
OF_LABELS = 1e-3
"""Share of the standard deviation that half a step between labels may have: predictions and errors are in these steps.
A label whose mean is up to some 16,000 standard deviations from 0 is told apart well enough."""
OF_INPUTS = 1e-2
"""Share of the standard deviation that inputs may lose, as noise."""
NOISE = 1e-12
"""Of a number: values that differ by less are the same, computed in float64."""
ROWS_LOOKED_AT = 4096
NUMBERS_LOOKED_AT = 2**22


def check_label_steps(name: str, labels: np.ndarray) -> None:
    """Refuse labels (n,) of a regression, in float64, whose half steps in float32 are beyond `OF_LABELS`.

    Raises:
        InputError: they are.
    """
    if not len(labels):
        return
    largest, spread = float(np.abs(labels).max()), float(labels.std())
    if largest * NOISE < spread < largest * 2.0**-DIGITS / OF_LABELS:
        raise _too_coarse(f"task {name!r} has labels", largest, spread)


def rows_to_look_at(n_rows: int, size: int = 1) -> np.ndarray:
    """Return the numbers (n,) of rows, evenly spread, that tell whether a column is coarse.

    Args:
        n_rows: of the inputs.
        size: numbers in a row.
    """
    most = max(1, min(ROWS_LOOKED_AT, NUMBERS_LOOKED_AT // size))
    return np.arange(0, n_rows, max(1, -(-n_rows // most)))


def check_input_steps(values: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Refuse inputs (n, F) or (n, C, ...) that lose more than `OF_INPUTS` of their deviation where they become float32.

    Args:
        values: some rows as they are given.
        names: of the features.

    Raises:
        InputError: a feature or channel does.
    """
    if values.dtype.itemsize < 4 or values.dtype == np.float32 or not len(values):
        return
    exact = np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by itself
        lost = np.abs(exact - exact.astype(np.float32)).max(axis=0)
        largest, spread = np.abs(exact).max(axis=0), exact.std(axis=0)
    coarse = np.flatnonzero((lost > OF_INPUTS * spread) & (spread > NOISE * largest))
    if len(coarse):
        column = int(coarse[0])
        what = "feature" if values.ndim == 2 else "channel"
        called = f"the {what} {names[column]!r}" if names is not None else f"{what} {column}"
        more = f"; {len(coarse) - 1:,} more are such" if len(coarse) > 1 else ""
        found = f"{called} of the inputs has values"
        raise _too_coarse(found, float(largest[column]), float(spread[column]), f", or leave it out{more}")


def _too_coarse(what: str, largest: float, spread: float, or_else: str = "") -> InputError:
    step = float(np.spacing(np.float32(largest)))
    return InputError(
        f"{what} up to {largest:g} with the standard deviation {spread:.3g}, which float32 cannot tell apart: it holds "
        f"numbers of this size in steps of {step:.3g} (subtract an offset, such as their mean{or_else})"
    )
