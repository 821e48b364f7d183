"""Standard errors of a statistic of sums, by leaving out one fold of them at a time (Efron and Stein 1981)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

FOLDS = 4
"""Units are dealt to so many folds in turn."""

Sums = dict[str, np.ndarray]
"""Sums by name, which add over units; of one of them, what is the same in all columns may be a single column."""


def fold_sums(units: Iterable[Sums], n_folds: int = FOLDS) -> list[Sums]:
    """Add the units' sums by fold: unit u is in fold u mod `n_folds`. Fewer units give fewer folds."""
    folds: list[Sums] = []
    for number, sums in enumerate(units):
        if number < n_folds:
            folds.append(dict(sums))
        else:
            fold = folds[number % n_folds]
            folds[number % n_folds] = {key: fold[key] + sums[key] for key in fold}
    return folds


def jackknife(folds: list[Sums], statistic: Callable[[Sums], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Compute a statistic of all folds' sums, and its standard error, of the same shape: NaN with one fold only."""
    (total,) = fold_sums(folds, n_folds=1)
    value = statistic(total)
    if len(folds) == 1:
        return value, np.full_like(value, np.nan)
    return value, jackknife_error([statistic({key: total[key] - fold[key] for key in total}) for fold in folds])


def jackknife_error(without: list[np.ndarray]) -> np.ndarray:
    """Compute the standard error from n values, each without one fold: sqrt((n - 1) / n sum (x - mean)^2)."""
    deviations = np.stack(without) - np.mean(without, axis=0)
    error: np.ndarray = np.sqrt((len(without) - 1) / len(without) * np.square(deviations).sum(axis=0))
    return error
