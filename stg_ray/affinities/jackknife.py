"""Standard errors of a statistic of sums, by leaving out one fold of them at a time (Efron and Stein 1981)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

FOLDS = 4
"""Units are dealt to so many folds in turn."""

Sums = dict[str, np.ndarray]


def fold_sums(units: Iterable[Sums], n_folds: int = FOLDS) -> list[Sums]:
    """The units' sums, unit u in fold u mod n_folds; fewer folds where there are fewer units."""
    folds: list[Sums] = []
    for number, sums in enumerate(units):
        if number < n_folds:
            folds.append(dict(sums))
        else:
            own = folds[number % n_folds]
            folds[number % n_folds] = {key: own[key] + sums[key] for key in own}
    return folds


def jackknife(folds: list[Sums], statistic: Callable[[Sums], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of all folds' sums, and its standard error: NaN with one fold only."""
    total = {key: np.sum([fold[key] for fold in folds], axis=0) for key in folds[0]}
    value = statistic(total)
    if len(folds) == 1:
        return value, np.full_like(value, np.nan)
    return value, jackknife_error([statistic({key: total[key] - fold[key] for key in total}) for fold in folds])


def jackknife_error(without: list[np.ndarray]) -> np.ndarray:
    """From the statistic without each of n folds: sqrt((n - 1) / n sum (x - mean)^2)."""
    spread = np.stack(without) - np.mean(without, axis=0)
    return np.sqrt((len(without) - 1) / len(without) * np.square(spread).sum(axis=0))
