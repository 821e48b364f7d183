"""Named random streams: every kind of random draw has its stream, so that no two draws are the same numbers.

A stream's generator is seeded by [seed, stream, *key]. NumPy treats [a, b] and [a, b, 0] as the same seed, so streams
differ by their numbers alone, never by the length of a key.
"""

from __future__ import annotations

from enum import IntEnum, unique
from numbers import Integral
from typing import TYPE_CHECKING

from stg_ray.errors import InputError
from stg_ray.shown import plain

if TYPE_CHECKING:
    import numpy as np


@unique
class Stream(IntEnum):
    """The streams by number. A number is never reused for another stream: equal seeds must give equal runs."""

    SPLIT = 0
    """Rows to train, validate and test on."""
    LIMIT = 1
    """Training rows under `data.limit`."""
    PARTS = 2
    """Order of the rows in the parts; key: split."""
    PROFILE_BATCHES = 3
    """Batches of the profile; key: epoch, rank."""
    NULL_GRAPHS = 4
    """Graphs without structure."""
    RANDOM_GROUPS = 5
    """Random groups of tasks; key: draw."""
    # 6 was the bootstrap's, for the intervals of the comparison of plans.
    NETWORK_BATCHES = 7
    """Batches of a network of a plan; key: epoch."""
    PROFILE_AUGMENTATION = 8
    """Flips and shifts in the profile; key: epoch, kind of draw."""
    NETWORK_AUGMENTATION = 9
    """Flips and shifts in the training of a network of a plan; key: epoch, kind of draw."""
    LANDSCAPE_ROWS = 10
    """Rows whose gradients are compared; key: part."""
    RESAMPLED_PARTS = 11
    """Blocks of parts that are drawn with replacement."""
    RANDOM_AFFINITY = 12
    """Affinities of the baseline that ignores the tasks."""
    TAG_BATCHES = 13
    """Batches of tag's training; key: epoch."""
    COORDINATES = 14
    """Coordinates of `affinity.coordinates`."""
    RESAMPLED_GRAPHS = 15
    """Noise of affinities, and counts of points, for the certainty; key: number of the draw."""
    SELECTION = 16
    """Starts of the search for groups under a budget."""
    GROUP_SEARCH = 17
    """Random partitions in the search over groupings."""
    FORECAST = 18
    """Random groups that those of a search are compared with beforehand."""
    TUNING = 19
    """Settings that tuning compares; key: number of the trial."""
    PROJECTION = 20
    """Random directions of the shared parameters; key: layer, block of its coordinates."""
    SUBSETS = 21
    """Random subsets of the tasks."""
    GRADIENT_ROWS = 22
    """Rows on which the gradients of tasks are compared while they are trained; key: epoch, task."""
    RESAMPLED_ROWS = 23
    """Rows that are drawn with replacement, for the error of a score on them."""
    EPISODES = 24
    """Episodes that an initialisation is trained on; key: epoch."""
    SCORED_EPISODES = 25
    """Episodes that initialisations are scored on; key: task, split, half."""


def generator(stream: Stream, seed: int, *key: int) -> np.random.Generator:
    """Return the generator of a stream.

    Args:
        stream: the kind of draw.
        seed: seed of the run, or of a network.
        key: further numbers that tell one draw of the stream from another, such as an epoch.

    Raises:
        InputError: the seed is no whole number from 0.
    """
    import numpy as np

    if not isinstance(seed, Integral) or seed < 0:
        raise InputError(f"seed is {plain(seed)}: expected a whole number from 0")

    return np.random.default_rng([seed, int(stream), *key])


def torch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of torch's random state (dropout) in an epoch, so that resuming there needs no saved state."""
    return seed * 100_003 + epoch * 1009 + rank
