"""The batches of a training: the rows of each rank at each step, and the divisor of their losses.

The loss of a step is the sum over a batch's labels divided by their expected number, so that steps of equal size weigh
the same whatever labels are missing. Gradients are averaged over ranks, so each rank divides its loss by
divisor / world.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stg_ray.errors import StgRayError
from stg_ray.seeds import Stream, generator
from stg_ray.training.ranks import ALONE, Ranks


@dataclass(frozen=True)
class Draws:
    """The random draws of a training: each epoch's depend on the seed and the epoch alone, so no state is saved.

    Attributes:
        seed: of the run, or of one network.
        batches: stream of the orders of the rows.
        augmentation: stream of the flips and shifts; None trains on the inputs as they are.
    """

    seed: int
    batches: Stream
    augmentation: Stream | None = None


class Batches(ABC):
    """The steps of a training, as one of its ranks takes them. All ranks take equally many.

    Attributes:
        n_steps: steps of an epoch.
        draws: seed and streams of the training's random draws.
        ranks: this process among those that train the network together.
    """

    n_steps: int

    def __init__(self, draws: Draws, ranks: Ranks) -> None:
        self.draws, self.ranks = draws, ranks

    @abstractmethod
    def of_epoch(self, epoch: int) -> Iterator[tuple[np.ndarray, float]]:
        """Yield each step's rows of this rank, (b,) indices, and the divisor of the sum of their losses.

        Over the epoch and all ranks, every row comes exactly once.
        """


class CommonBatches(Batches):
    """Batches of rows that every rank has: all ranks draw the same ones, and each takes its slice of every batch.

    Args:
        n_rows: rows of the training.
        batch_size: rows of a step over all ranks, at most.
        labels_per_sample: mean number of labels of a row, weighted as their losses are.
        draws: seed and streams of the training's random draws.
        ranks: this process among those that train the network together.

    Raises:
        StgRayError: there are fewer rows than ranks.
    """

    def __init__(
        self, n_rows: int, batch_size: int, labels_per_sample: float, draws: Draws, ranks: Ranks = ALONE
    ) -> None:
        super().__init__(draws, ranks)
        if n_rows < ranks.world:
            raise StgRayError(f"{n_rows} rows for {ranks.world} workers: set retrain.workers to fewer")
        self.n_rows, self.labels_per_sample = n_rows, labels_per_sample
        self.n_steps = min(math.ceil(n_rows / batch_size), n_rows // ranks.world)

    def of_epoch(self, epoch: int) -> Iterator[tuple[np.ndarray, float]]:
        """Yield every world-th row of each batch from this rank's on, and the batch's divisor / world."""
        rng = generator(self.draws.batches, self.draws.seed, epoch)
        for batch in epoch_batches(self.n_rows, self.n_steps, rng):
            yield batch[self.ranks.rank :: self.ranks.world], len(batch) * self.labels_per_sample / self.ranks.world


class ShardBatches(Batches):
    """Batches of rows that only this rank has: each rank cuts its rows into equally many batches.

    The step's batch is what all ranks take at it together; every rank derives its size from the sizes of all shards.

    Args:
        rows_by_rank: rows of each rank's shard.
        batch_size: rows of a step over all ranks, at most.
        labels_per_sample: mean number of labels of a row, over all shards.
        draws: seed and streams of the training's random draws.
        ranks: this process among those that train the network together.
    """

    def __init__(
        self, rows_by_rank: Sequence[int], batch_size: int, labels_per_sample: float, draws: Draws, ranks: Ranks
    ) -> None:
        super().__init__(draws, ranks)
        self.rows_by_rank, self.labels_per_sample = rows_by_rank, labels_per_sample
        self.n_steps = min(math.ceil(sum(rows_by_rank) / batch_size), min(rows_by_rank))

    def rows_of_steps(self) -> np.ndarray:
        """Return the (n_steps,) rows of each step over all ranks; `array_split` makes the first ones longer."""
        rows, steps = np.array(self.rows_by_rank)[:, None], np.arange(self.n_steps)
        return np.asarray((rows // self.n_steps + (steps < rows % self.n_steps)).sum(axis=0))

    def of_epoch(self, epoch: int) -> Iterator[tuple[np.ndarray, float]]:
        """Yield batches of this rank's rows, in an order drawn for it alone, and the whole step's divisor / world."""
        rank = self.ranks.rank
        rng = generator(self.draws.batches, self.draws.seed, epoch, rank)
        divisors = self.rows_of_steps() * self.labels_per_sample / self.ranks.world
        yield from zip(epoch_batches(self.rows_by_rank[rank], self.n_steps, rng), divisors.tolist(), strict=True)


def epoch_batches(n_rows: int, n_steps: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Cut the rows 0..n_rows-1, each exactly once and in random order, into `n_steps` batches equal to one row."""
    return np.array_split(rng.permutation(n_rows), n_steps)
