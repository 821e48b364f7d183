"""The contract of an estimator of affinities, and means per sample over parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.tasks import Task

if TYPE_CHECKING:
    from stg_ray.affinities.source import Source

Partial = dict[str, np.ndarray]
"""Sums of one unit by name, each of a size that depends on the tasks only, and `samples`, the rows that were used."""

Need = Literal["data_maps", "network", "trained_heads", "common_samples", "validation_rows"]
"""A precondition of an affinity: the profile's data maps, its network, heads of that network which are trained, samples
that are labelled for both of two tasks, or validation rows."""


class Estimator(ABC):
    """An affinity or distance of K tasks, computed a unit of work at a time.

    Actors build the estimator and call `partial`; the driver calls `combine`. Neither needs Ray: a notebook may do
    both.

    Attributes:
        kind: whether large values mean alike (affinity) or far (distance).
        about: its line in the report.
        needs: what it has no meaning without; a run whose tasks lack it is refused before anything is computed.
        units_are_parts: whether a unit is a training part. Then the partials add over parts, and the affinity is also
            computed from resampled parts. Otherwise there is one unit, unless `n_units` says differently.
    """

    kind: ClassVar[Kind]
    about: ClassVar[str]
    needs: ClassVar[frozenset[Need]] = frozenset()
    units_are_parts: ClassVar[bool] = True

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def n_units(cls, source: Source) -> int:
        """Return the number of units, which does not depend on the cluster."""
        return source.index.n_parts() if cls.units_are_parts else 1

    @abstractmethod
    def partial(self, number: int) -> Partial:
        """Compute the sums of unit `number`, in float64. The same unit gives the same sums, wherever it is computed."""

    @classmethod
    @abstractmethod
    def combine(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
        """Compute the matrix (K, K) and its standard errors from the partials of all units.

        Args:
            partials: in the order of the units. They are read one at a time, so that memory does not grow with their
                number.
            tasks: the K tasks.
        """

    @classmethod
    def values(cls, partials: Iterable[Partial], tasks: Sequence[Task]) -> np.ndarray:
        """Compute the matrix (K, K) alone, of parts that were drawn: where its errors take long, without them."""
        return cls.combine(partials, tasks).values


def task_names(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Return the names of tasks, as a matrix keeps them."""
    return tuple(task.name for task in tasks)


def without_errors(values: np.ndarray, tasks: Sequence[Task], kind: Kind, samples: int = 0) -> TaskMatrix:
    """Return values (K, K) as a matrix whose standard errors are not known (NaN)."""
    return TaskMatrix(task_names(tasks), values, kind, samples=samples, errors=np.full_like(values, np.nan))


class RatioSums:
    """Running sums from which a mean per sample follows, and its standard error from the scatter of the parts.

    With part sums s_p and counts n_p the mean is r = sum s_p / sum n_p; its variance that of a ratio estimator,
    P/(P-1) sum (s_p - r n_p)^2 / (sum n_p)^2 (Cochran, Sampling Techniques, section 6.4). The sum of squares is kept
    expanded, so that one part is in memory at a time.

    Args:
        total: the key of the part sums (K, K) in a partial.
        count: the key of the counts (K, K).

    Attributes:
        samples: rows of all parts that were added.
    """

    def __init__(self, total: str, count: str) -> None:
        self.keys = total, count
        self.n_parts = self.samples = 0
        zero: np.ndarray = np.zeros(())
        self.total = self.count = zero
        self.total_squared = self.total_count = self.count_squared = zero

    def add(self, partial: Partial) -> None:
        """Add the sums of one part."""
        total, count = (partial[key] for key in self.keys)
        self.total, self.count = self.total + total, self.count + count
        self.total_squared = self.total_squared + total**2
        self.total_count = self.total_count + total * count
        self.count_squared = self.count_squared + count**2
        self.n_parts += 1
        self.samples += int(partial["samples"])

    def mean_and_error(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the means (K, K) and their standard errors.

        Both are NaN where no sample is labelled for both tasks; the error is NaN if there is one part only.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.total / self.count
            scatter = self.total_squared - 2 * mean * self.total_count + mean**2 * self.count_squared
            if self.n_parts > 1:
                error = np.sqrt(np.maximum(scatter, 0) * self.n_parts / (self.n_parts - 1)) / self.count
            else:
                error = np.full_like(mean, np.nan)
        return mean, np.where(np.isnan(mean), np.nan, error)


def ratio_of_sums(partials: Iterable[Partial], total: str, count: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Compute the means per sample over all parts (K, K), their standard errors, and the number of samples.

    Args:
        partials: of the parts, read one at a time.
        total: the key of the part sums (K, K) in a partial.
        count: the key of the counts (K, K).
    """
    sums = RatioSums(total, count)
    for partial in partials:
        sums.add(partial)
    return *sums.mean_and_error(), sums.samples
