"""Splits of multi-label data that keep rare labels in every split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stg_ray.seeds import Stream, generator

BLOCK_COLUMNS = 64


def stratified_split(
    labels: np.ndarray, shares: Sequence[float], seed: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """Split rows in given shares so that every label is spread over the splits in these shares too.

    Labels are served from the rarest to the most frequent: the rows that carry a label and are not yet placed are
    dealt to the splits so that the label's counts come as near to the shares as they can (iterative stratification,
    Sechidis, Tsoumakas and Vlahavas 2011, with the order of labels fixed beforehand). Rows that carry none go last.

    Args:
        labels: (N, T) class labels; negative or NaN is missing. Class 0 of a two-class task is its background and
            balances itself; it is served like any other label, last, as it is rarely the rare one.
        shares: shares of the splits, adding up to 1.
        seed: decides which of equal rows goes where.
        rows: indices of the rows to be split; all of them if not given.

    Returns:
        (N,), or one for each of `rows`, int8 indices of the splits.
    """
    rng = generator(Stream.SPLIT, seed)
    chosen = slice(None) if rows is None else rows
    n_rows = len(labels) if rows is None else len(rows)
    target = np.asarray(shares, dtype=np.float64)
    placed = np.full(n_rows, -1, dtype=np.int8)
    carriers: list[tuple[int, int, Any]] = []
    for start in range(0, labels.shape[1], BLOCK_COLUMNS):
        # A column on its own is far apart in memory: some are copied together.
        for offset, column in enumerate(np.ascontiguousarray(labels[chosen, start : start + BLOCK_COLUMNS].T)):
            classes, counts = np.unique(column[column >= 0], return_counts=True)
            carriers += [(int(n), start + offset, value) for value, n in zip(classes, counts, strict=True)]
    carriers.sort(key=lambda carrier: carrier[0])
    n_free = n_rows
    for count, t, value in carriers:
        if n_free == 0:
            break
        own = np.flatnonzero(labels[chosen, t] == value)
        free = own[placed[own] < 0]
        if len(free) == 0:
            continue
        have = np.bincount(placed[own][placed[own] >= 0], minlength=len(target))
        _deal(rng.permutation(free), target * count - have, placed, rng)
        n_free -= len(free)
    free = np.flatnonzero(placed < 0)
    have = np.bincount(placed[placed >= 0], minlength=len(target))
    _deal(rng.permutation(free), target * n_rows - have, placed, rng)
    return placed


def _deal(rows: np.ndarray, wanted: np.ndarray, placed: np.ndarray, rng: np.random.Generator) -> None:
    """Place rows in the splits in proportion to what each still wants (largest remainders get the odd rows)."""
    wanted = np.maximum(wanted, 0)
    if wanted.sum() == 0:
        wanted = np.eye(len(wanted))[0]
    if len(rows) == 1:
        # Drawn, not rounded: else many labels that occur once would all end in the largest split.
        placed[rows] = rng.choice(len(wanted), p=wanted / wanted.sum())
        return
    quota = wanted / wanted.sum() * len(rows)
    counts = np.floor(quota).astype(int)
    odd = len(rows) - counts.sum()
    remainders = quota - counts + 1e-9 * (counts == 0)  # of equal splits, the empty one gets the odd row
    counts[np.argsort(-remainders, kind="stable")[:odd]] += 1
    placed[rows] = np.repeat(np.arange(len(counts)), counts)
