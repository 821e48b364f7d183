"""Named random streams: whatever is drawn at random has a stream of its own, so that no two draws are the same numbers.

A stream's generator is seeded by [seed, stream, *key]. NumPy takes [a, b] and [a, b, 0] for the same seed, so streams
are told apart by their own numbers alone, never by the length of a key.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@unique
class Stream(IntEnum):
    """What is drawn. A number that has been used is never used for something else: equal seeds must give equal runs."""

    SPLIT = 0
    """Rows to train, validate and test on."""
    LIMIT = 1
    """Training rows under `data.limit`."""
    PARTS = 2
    """Rows of the parts; key: split."""
    PROFILE_BATCHES = 3
    """Key: epoch, rank."""
    NULL_GRAPHS = 4
    """Graphs without structure."""
    RANDOM_GROUPS = 5
    """Key: draw."""
    BOOTSTRAP = 6
    """Of the comparison of plans."""
    NETWORK_BATCHES = 7
    """Key: epoch."""
    PROFILE_AUGMENTATION = 8
    """Key: epoch, kind of draw."""
    NETWORK_AUGMENTATION = 9
    """Key: epoch, kind of draw."""
    LANDSCAPE_ROWS = 10
    """Rows whose gradients are compared; key: part."""
    RESAMPLED_PARTS = 11
    """Blocks of parts that are drawn with replacement."""
    RANDOM_AFFINITY = 12
    TAG_BATCHES = 13
    """Key: epoch."""
    COORDINATES = 14
    """Coordinates of `affinity.coordinates`."""
    RESAMPLED_GRAPHS = 15
    """Noise of affinities, and counts of points, for the certainty; key: number of the draw."""
    SELECTION = 16
    """Starts of the search for groups under a budget."""


def generator(stream: Stream, seed: int, *key: int) -> np.random.Generator:
    """The generator of a stream.

    Args:
        seed: of the run, or of a network.
        key: what else tells one draw of the stream from another, such as an epoch.
    """
    import numpy as np

    return np.random.default_rng([seed, int(stream), *key])


def torch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """The seed of torch's own random state (dropout) in an epoch, so that no state need be saved to resume there."""
    return seed * 100_003 + epoch * 1009 + rank
