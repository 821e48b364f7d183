"""Splits into training, validation and test rows that keep rare labels in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stg_ray.errors import InputError
from stg_ray.seeds import Stream, generator
from stg_ray.tasks.settings import current_settings
from stg_ray.tasks.task import Task

SPLITS = ("train", "val", "test")

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Splits by the names that people give them, in lower case."""

UNUSED = -1
"""The split of a row that is not used."""

MIN_ROWS = 20
"""Fewer rows cannot be split into the three."""

BLOCK_COLUMNS = 64
"""Columns of labels that are copied together: one on its own is far apart in memory."""


def split_codes(
    split: Sequence[str] | np.ndarray | None, labels: np.ndarray, tasks: tuple[Task, ...], seed: int
) -> np.ndarray:
    """Return the split of each of N rows, as indices into `SPLITS`.

    Args:
        split: N names of splits, or None to make one by `seed`; validation rows are made where it has none. What
            `data.split: stratified` replaces is not looked at.
        labels: (N, K), by which a split that is made is stratified, regressions left out.

    Raises:
        InputError: too few rows, an unknown name, or no row to train or to test on.
    """
    classification = [t for t, task in enumerate(tasks) if task.kind != "regression"]
    strata = labels if len(classification) == len(tasks) else labels[:, classification]
    if len(labels) < MIN_ROWS:
        raise InputError(f"there are {len(labels)} rows: expected at least {MIN_ROWS}, to train, validate and test on")
    if split is None or current_settings().makes_split:
        return stratified_split(strata, (0.7, 0.1, 0.2), seed)
    names = np.asarray(split).astype(str)
    if names.shape != (len(labels),):
        raise InputError(f"split has the shape {names.shape}: expected one entry for each of {len(labels)} rows")
    found, places = np.unique(names, return_inverse=True)
    unknown = [str(name) for name in found if name.strip().lower() not in SPLIT_NAMES]
    if unknown:
        raise InputError(f"split has the unknown entry {unknown[0]!r}: expected {', '.join(SPLITS)}")
    names = np.array([SPLIT_NAMES[name.strip().lower()] for name in found])[places]
    codes = np.select([names == s for s in SPLITS], range(3)).astype(np.int8)
    for needed in ("train", "test"):
        if not (codes == SPLITS.index(needed)).any():
            raise InputError(
                f"split has no {needed!r} row: expected 'train' and 'test' rows, and 'val' if you like (or "
                "leave the split out, data.split=stratified, and one is made)"
            )
    if not (codes == 1).any():
        train = np.flatnonzero(codes == 0)
        codes[train] = stratified_split(strata, (0.9, 0.1, 0.0), seed, rows=train)
    return codes


def check_split(codes: np.ndarray) -> None:
    """Refuse a split without rows to train, to validate or to test on.

    Args:
        codes: (N,) indices into `SPLITS`, or `UNUSED`.

    Raises:
        InputError: there are none of a kind.
    """
    counts = [int((codes == number).sum()) for number in range(len(SPLITS))]
    uses = {
        "train": "networks learn from them",
        "val": "they decide when a training has learned enough and which networks to deploy",
        "test": "they measure the networks",
    }
    for name, count in zip(SPLITS, counts, strict=True):
        if count == 0:
            found = ", ".join(f"{n:,} {split}" for n, split in zip(counts, SPLITS, strict=True))
            raise InputError(
                f"there is no {name!r} row ({found}), and {uses[name]}: name some {name!r} in the split, or make a new "
                "one of all rows, data.split=stratified"
            )


def stratified_split(
    labels: np.ndarray, shares: Sequence[float], seed: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """Split rows in given shares so that every label is spread over the splits in these shares too.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011), with the order of labels fixed beforehand: labels
    are served from the rarest to the most frequent. The rows that carry a label and are not placed yet are dealt to
    the splits so that the label's counts come as near to the shares as they can. Rows that carry none go last.

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
        for offset, column in enumerate(np.ascontiguousarray(labels[chosen, start : start + BLOCK_COLUMNS].T)):
            classes, counts = np.unique(column[column >= 0], return_counts=True)
            carriers += [(int(n), start + offset, value) for value, n in zip(classes, counts, strict=True)]
    carriers.sort(key=lambda carrier: carrier[0])
    n_free = n_rows
    for count, t, value in carriers:
        if n_free == 0:
            break
        carrying = np.flatnonzero(labels[chosen, t] == value)
        free = carrying[placed[carrying] < 0]
        if len(free) == 0:
            continue
        have = np.bincount(placed[carrying][placed[carrying] >= 0], minlength=len(target))
        _deal(rng.permutation(free), target * count - have, placed, rng)
        n_free -= len(free)
    free = np.flatnonzero(placed < 0)
    have = np.bincount(placed[placed >= 0], minlength=len(target))
    _deal(rng.permutation(free), target * n_rows - have, placed, rng)
    _fill_empty(placed, target, labels, np.arange(n_rows) if rows is None else rows, rng)
    return placed


def _fill_empty(
    placed: np.ndarray, shares: np.ndarray, labels: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> None:
    """Give a split without a row its share of the largest one.

    Where every label is rare, such as four rows for each of 50 classes, a tenth of each is none. The rows are of those
    whose labels others in the largest split have too, so that it loses no label.
    """
    counts = np.bincount(placed, minlength=len(shares))
    for split in np.flatnonzero((shares > 0) & (counts == 0)):
        wanted = round(shares[split] * len(placed))
        if wanted == 0 or labels.shape[1] == 0:
            continue
        places = rng.permutation(np.flatnonzero(placed == counts.argmax()))
        _, alike = np.unique(np.nan_to_num(labels[rows[places]], nan=-1), axis=0, return_inverse=True)
        _, kept = np.unique(alike.ravel(), return_index=True)
        placed[np.delete(places, kept)[:wanted]] = split


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
