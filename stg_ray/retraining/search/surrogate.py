"""The surrogate: it predicts the score of any task in any group, from the groups that were measured.

A Gaussian process for each task, over the groups that it is in. The prior mean is linear in the task's mean affinity to
the other members; the covariance of two groups is a constant, a part linear in their common members (ridge regression
on membership, as in Li et al. 2023, arXiv 2303.14582, and ETAP, arXiv 2602.18591), and a part that falls with the
number of tasks in which they differ, for what pairs do not explain. Its parameters have the largest marginal likelihood
over all tasks together (Rasmussen and Williams 2006, section 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

CONSTANT = 0.3
"""Variance of a task's mean over its groups, in units of the variance of all scores, as the others."""
LINEAR = (0.0, 0.3, 1.0)
RADIAL = (0.03, 0.3, 1.0)
LENGTH = (1.0, 2.0, 4.0)
NOISE = (0.02, 0.1, 0.3, 1.0)

MOST_VALUES = 4_000_000
"""Values of covariances that are held at a time."""


@dataclass(frozen=True)
class Kernel:
    """The covariance of a task's scores in two groups.

    Attributes:
        linear: variance of the part that is linear in the members.
        radial: variance of the part that falls with the number of tasks in which the groups differ.
        length: number of differing tasks over which that falls by a factor e.
        noise: variance of one measurement.
    """

    linear: float
    radial: float
    length: float
    noise: float

    def between(self, groups: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the (Q, M) covariances of groups (Q, K) and others (M, K), boolean, for a task that is in both."""
        n_tasks = groups.shape[1]
        common = groups.astype(np.float64) @ others.T.astype(np.float64)
        differing = groups.sum(axis=1)[:, None] + others.sum(axis=1)[None, :] - 2 * common
        return np.asarray(
            CONSTANT + self.linear * (common - 1) / n_tasks + self.radial * np.exp(-differing / self.length)
        )

    def variance(self, groups: np.ndarray) -> np.ndarray:
        """Return the (Q,) prior variances of groups."""
        return np.asarray(CONSTANT + self.linear * (groups.sum(axis=1) - 1) / groups.shape[1] + self.radial)


class GroupSurrogate:
    """Predictions of scores of groups, from measured ones.

    Args:
        groups: (M, K) boolean members of the measured groups, M at least 1.
        scores: (M, K) scores of their tasks, such as gains over one network for all tasks; NaN where a task is not a
            member, or has no score.
        affinity: (K, K) how alike tasks are, larger is more; row t is of what task t gains. NaN where not known.
    """

    def __init__(self, groups: np.ndarray, scores: np.ndarray, affinity: np.ndarray | None = None) -> None:
        self.groups = np.asarray(groups, dtype=bool)
        self.known = self.groups & np.isfinite(scores)
        values = np.where(self.known, scores, 0.0)
        self._features = _standardised(affinity) if affinity is not None else None
        count = max(1, int(self.known.sum()))
        self.mean = float(values.sum() / count)
        self.slope = 0.0
        if self._features is not None:
            features = self._mean_affinity(self.groups)[self.known]
            # Alike tasks may help each other, or not; that they hurt because they are alike is taken for noise. One
            # more observation of no slope keeps a few measurements from deciding.
            self.slope = max(0.0, float(features @ (values[self.known] - self.mean) / (features @ features + 1)))
        residual = np.where(self.known, values - self._prior(self.groups), 0.0)
        self.scale = float(np.sqrt(np.square(residual).sum() / count)) or 1.0
        self._rows, self._is_row = _rows_of_tasks(self.known)
        self._residual = np.take_along_axis((residual / self.scale).T, self._rows, axis=1) * self._is_row
        self.kernel = max((Kernel(*each) for each in product(LINEAR, RADIAL, LENGTH, NOISE)), key=self._likelihood)
        self._inverses = np.linalg.inv(self._covariances(self.kernel)) * self._are_rows
        self._alpha = np.einsum("tmn,tn->tm", self._inverses, self._residual)

    def predict(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predict the scores of groups.

        Args:
            groups: (Q, K) boolean members.

        Returns:
            (Q, K) expected scores and their standard deviations (without the noise of a measurement); 0 where a task is
            not a member.
        """
        groups = np.asarray(groups, dtype=bool)
        between, prior, variance = self.kernel.between(groups, self.groups), self._prior(groups), np.zeros(groups.shape)
        mean = np.zeros(groups.shape)
        at_once = max(1, MOST_VALUES // self._rows.shape[1] ** 2)
        pairs = np.argwhere(groups)
        for start in range(0, len(pairs), at_once):
            q, t = pairs[start : start + at_once].T
            of_task = between[q[:, None], self._rows[t]] * self._is_row[t]
            mean[q, t] = prior[q, t] + self.scale * np.einsum("pm,pm->p", of_task, self._alpha[t])
            explained = np.einsum("pm,pm->p", np.einsum("pm,pmn->pn", of_task, self._inverses[t]), of_task)
            variance[q, t] = np.maximum(self.kernel.variance(groups)[q] - explained, 1e-12)
        return mean, self.scale * np.sqrt(variance)

    def left_out(self) -> np.ndarray:
        """Predict every measured score from the others, in closed form (Rasmussen and Williams 2006, 5.4.2).

        Returns:
            (M, K); NaN where there is no score, or no other of the same task.
        """
        predicted = np.full(self.known.shape, np.nan)
        diagonal = np.einsum("tmm->tm", self._inverses)
        has_others = self._is_row & (self._is_row.sum(axis=1, keepdims=True) > 1)
        values = self._residual - self._alpha / np.where(self._is_row, diagonal, 1.0)
        t, place = np.nonzero(has_others)
        predicted[self._rows[t, place], t] = values[t, place]
        return np.asarray(self._prior(self.groups) + self.scale * predicted)

    @cached_property
    def _are_rows(self) -> np.ndarray:
        """(K, L, L) whether both are groups of the task that have a score."""
        return np.asarray(self._is_row[:, :, None] & self._is_row[:, None, :])

    def _covariances(self, kernel: Kernel) -> np.ndarray:
        """(K, L, L) of the scores of each task; rows that are none are independent, of variance 1."""
        between = kernel.between(self.groups, self.groups) + kernel.noise * np.eye(len(self.groups))
        of_tasks = between[self._rows[:, :, None], self._rows[:, None, :]]
        return np.where(self._are_rows, of_tasks, np.eye(self._rows.shape[1]))

    def _likelihood(self, kernel: Kernel) -> float:
        """Logarithm of the marginal likelihood of all tasks' scores, but for a constant."""
        lower = np.linalg.cholesky(self._covariances(kernel))
        white = np.linalg.solve(lower, self._residual[:, :, None])
        return -0.5 * float(np.square(white).sum()) - float(np.log(np.einsum("tmm->tm", lower)).sum())

    def _prior(self, groups: np.ndarray) -> np.ndarray:
        prior = np.full(groups.shape, self.mean)
        return prior if self._features is None else prior + self.slope * self._mean_affinity(groups)

    def _mean_affinity(self, groups: np.ndarray) -> np.ndarray:
        """(Q, K) mean affinity of each task to the other members of a group; 0, the mean of all, alone."""
        assert self._features is not None
        members = groups.astype(np.float64)
        others = np.maximum(members.sum(axis=1, keepdims=True) - 1, 1)
        return np.asarray(members @ self._features.T / others)


def _standardised(affinity: np.ndarray) -> np.ndarray:
    """Affinities with mean 0 and variance 1 over pairs of different tasks; 0 where they are not known."""
    values = np.array(affinity, dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    if not np.isfinite(values).any():
        return np.zeros_like(values)
    deviation = np.nanstd(values)
    return np.nan_to_num((values - np.nanmean(values)) / (deviation if deviation > 0 else 1.0))


def _rows_of_tasks(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K, L) numbers of the groups with a score of each task, filled up with zeros, and which of them are none."""
    longest = max(1, int(known.sum(axis=0).max(initial=0)))
    is_row = np.arange(longest) < known.sum(axis=0)[:, None]
    rows = np.argsort(~known.T, axis=1, kind="stable")[:, :longest]
    return np.where(is_row, rows, 0), is_row
