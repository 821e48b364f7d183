"""Resamplings of an affinity over its parts: what other samples might have said.

The parts are dealt into blocks, and the sums of one block fewer than there are, drawn with replacement, are combined as
those of all parts are (a bootstrap whose variance is unbiased: Rao and Wu 1988). Errors of different pairs of tasks
keep their correlation, and so do those of two affinities, which draw the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from stg_ray.affinities.base import Estimator, Partial
from stg_ray.seeds import Stream, generator

MAX_BLOCKS = 20
"""The driver holds the sums of so many blocks, in single precision, whatever the number of parts."""

N_RESAMPLES = 20


class Blocks:
    """Sums of an estimator's partials by block, kept while the partials pass by."""

    def __init__(self) -> None:
        self.sums: list[Partial] = []

    def of(self, partials: Iterable[Partial]) -> Iterator[Partial]:
        for number, partial in enumerate(partials):
            if number < MAX_BLOCKS:
                self.sums.append({key: np.asarray(values, np.float32) for key, values in partial.items()})
            else:
                block = self.sums[number % MAX_BLOCKS]
                self.sums[number % MAX_BLOCKS] = {key: values + partial[key] for key, values in block.items()}
            yield partial

    def resampled(self, estimator: type[Estimator], tasks: Sequence[str], seed: int) -> np.ndarray | None:
        """(B, K, K) float32 values from resampled blocks; None where there are fewer than two."""
        n_blocks = len(self.sums)
        if n_blocks < 2:
            return None
        rng = generator(Stream.RESAMPLED_PARTS, seed)
        drawn = rng.integers(0, n_blocks, (N_RESAMPLES, n_blocks - 1))
        values = np.empty((N_RESAMPLES, len(tasks), len(tasks)), np.float32)
        for own, blocks in zip(values, drawn, strict=True):
            own[:] = estimator.combine((self.sums[block] for block in blocks), tasks)[0].values
        return values
