"""Resamplings of an affinity over its parts: the values that other samples might have given.

The parts are dealt into blocks, and the sums of one block fewer than there are, drawn with replacement, are combined as
those of all parts are (a bootstrap whose variance is unbiased: Rao and Wu 1988). Errors of different pairs of tasks
keep their correlation, and so do those of two affinities, which draw the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stg_ray.affinities.base import Estimator, Partial
from stg_ray.artifacts.evidence import n_resamples
from stg_ray.seeds import Stream, generator
from stg_ray.tasks import Task

MAX_BLOCKS = 20
"""The driver holds the sums of so many blocks, in single precision, whatever the number of parts."""


class BlockSums:
    """Sums of an estimator's partials by block.

    Attributes:
        sums: of each block, at most `MAX_BLOCKS`, in single precision.
        n_parts: partials that were added.
    """

    def __init__(self) -> None:
        self.sums: list[Partial] = []
        self.n_parts = 0

    def add(self, partial: Partial) -> Partial:
        """Add the sums of the next part to its block.

        Returns:
            The partial as it was given, for whoever reads it next: a part's sums are fetched from storage once.
        """
        block = self.n_parts % MAX_BLOCKS
        if self.n_parts < MAX_BLOCKS:
            self.sums.append({key: np.asarray(values, np.float32) for key, values in partial.items()})
        else:
            # A run that an older version began may have partials with a key more.
            sums = self.sums[block]
            added = {key: values + partial[key] for key, values in sums.items() if key in partial}
            self.sums[block] = {key: values.astype(np.float32) for key, values in added.items()}
        self.n_parts += 1
        return partial

    def resampled(self, estimator: type[Estimator], tasks: Sequence[Task], seed: int) -> np.ndarray | None:
        """Return values (B, K, K), float32, of B = `n_resamples` draws of blocks; None with fewer than two blocks."""
        n_blocks = len(self.sums)
        if n_blocks < 2:
            return None
        rng = generator(Stream.RESAMPLED_PARTS, seed)
        n = n_resamples(len(tasks))
        draws = rng.integers(0, n_blocks, (n, n_blocks - 1))
        values = np.empty((n, len(tasks), len(tasks)), np.float32)
        for matrix, blocks in zip(values, draws, strict=True):
            matrix[:] = estimator.values((self.sums[block] for block in blocks), tasks)
        return values
