"""What is expected of the groups that a search has found."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from stg_ray.retraining.search.partitions import members_of
from stg_ray.retraining.search.search import GroupSearch
from stg_ray.seeds import Stream, generator

N_RANDOM = 100
"""Random groupings that the best one is compared with, by what is expected of them."""
N_TRIED = 10_000
"""Random groupings that are drawn until there are as many that keep a budget; without one, the first hundred do."""


@dataclass(frozen=True)
class Expected:
    """What the surrogate expects of a partition, in short trainings: mean gains over tasks, on validation rows.

    The largest of many noisy measurements is too large; the surrogate, which knows the noise, takes that back. What it
    cannot know is that all are measured on the same rows, beside one network of all tasks.

    Attributes:
        expected: over one network of all tasks.
        error: standard error of that: of the surrogate, and of what other validation rows would change.
        over_random: over random groups of the same sizes.
        better_than: share of these random groupings of which less is expected.
    """

    expected: float
    error: float
    over_random: float
    better_than: float

    @classmethod
    def of(cls, search: GroupSearch, best: np.ndarray, seed: int, error_of_rows: float = 0.0) -> Expected:
        """Predict the partition (K,) that a search has found, and random ones, drawn with a seed."""
        surrogate, rng = search.surrogate(), generator(Stream.FORECAST, seed)
        mean, deviation = surrogate.predict(members_of(best))
        drawn = (rng.permutation(best) for _ in range(N_TRIED))
        allowed = list(islice(filter(search.partitions.allows, drawn), N_RANDOM))
        others = np.array([surrogate.predict(members_of(labels))[0].sum() for labels in allowed or [best]])
        n_tasks = len(best)
        return cls(
            expected=float(mean.sum() / n_tasks),
            error=float(np.hypot(np.sqrt(np.square(deviation).sum()) / n_tasks, error_of_rows)),
            over_random=float((mean.sum() - others.mean()) / n_tasks),
            better_than=float((others < mean.sum()).mean()),
        )
