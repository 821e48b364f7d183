"""Partitions of the tasks: those that a search may propose, and their groups."""

from __future__ import annotations

import numpy as np

from stg_ray.errors import InputError
from stg_ray.tasks.conditions import Conditions

TRIES = 100
"""Random partitions that are begun until one keeps all conditions."""


class Partitions:
    """The partitions of K tasks into so many groups that keep the conditions of a budget.

    Args:
        n_tasks: K.
        fewest, most: number of groups.
        conditions: of the budget; a task is in one group, whether they allow an overlap or not.

    Attributes:
        units: positions of the tasks that are moved together, unit by unit.

    Raises:
        InputError: the conditions contradict each other, or allow no such number of groups.
    """

    def __init__(self, n_tasks: int, fewest: int, most: int, conditions: Conditions) -> None:
        self.n_tasks, self.fewest, self.most, self.conditions = n_tasks, fewest, most, conditions
        unit = conditions.units(n_tasks)
        self.units = [np.flatnonzero(unit == number) for number in range(int(unit.max()) + 1)]
        least, largest = conditions.numbers(n_tasks)
        if fewest < least or most > largest:
            raise InputError(f"the budget allows {least} to {largest} groups: expected as many, not {fewest} to {most}")
        has_sizes = conditions.min_size > 1 or conditions.max_size is not None
        self._is_free = not (has_sizes or conditions.pairs_together or conditions.pairs_apart)

    def allows(self, labels: np.ndarray) -> bool:
        """Whether a partition (K,) is one of them."""
        members = members_of(labels)
        return self.fewest <= len(members) <= self.most and bool(self.conditions.allows(members).all())

    def random(self, rng: np.random.Generator) -> np.ndarray | None:
        """Draw a partition (K,) into any number of groups of any sizes: each has one unit at random, and the others are
        drawn. None where no try keeps the conditions."""
        for _ in range(1 if self._is_free else TRIES):
            n_groups = self.most if self.fewest == self.most else int(rng.integers(self.fewest, self.most + 1))
            drawn = rng.integers(n_groups, size=len(self.units))
            first = rng.permutation(len(self.units))
            drawn[first[:n_groups]] = np.arange(n_groups)
            labels = self._mended(drawn, first, n_groups, rng)
            if labels is not None:
                return canonical(labels)
        return None

    def _mended(
        self, drawn: np.ndarray, order: np.ndarray, n_groups: int, rng: np.random.Generator
    ) -> np.ndarray | None:
        """Place the units in an order where they were drawn to, or elsewhere if that breaks a condition; None if there
        is no place for one."""
        labels = np.empty(self.n_tasks, dtype=np.intp)
        if self._is_free:
            labels[:] = drawn
            return labels
        members = np.zeros((n_groups, self.n_tasks), dtype=bool)
        left, least, largest = self.n_tasks, self.conditions.min_size, self.conditions.largest(self.n_tasks)
        enemies = [self._enemies(unit) for unit in self.units]
        for place, number in enumerate(order):
            unit, size = self.units[number], members.sum(axis=1)
            fits = (size + len(unit) <= largest) & ~members[:, enemies[number]].any(axis=1)
            if place < n_groups:
                fits &= size == 0
            elif np.maximum(least - size, 0).sum() >= left:  # what is left must go where tasks lack
                fits &= size < least
            if not fits.any():
                return None
            wanted = drawn[number]
            group = int(wanted) if fits[wanted] else int(rng.choice(np.flatnonzero(fits)))
            members[group, unit], labels[unit] = True, group
            left -= len(unit)
        return labels if self.conditions.allows(members).all() else None

    def _enemies(self, unit: np.ndarray) -> np.ndarray:
        """Positions of the tasks that must be apart from one of a unit."""
        pairs = [(a, b) for pair in self.conditions.pairs_apart for a, b in (pair, pair[::-1]) if a in unit]
        return np.array(sorted({b for _, b in pairs}), dtype=np.intp)

    def swaps(self, labels: np.ndarray, unit: np.ndarray) -> list[np.ndarray]:
        """Return those of the partitions in which a unit has changed places with another, not in canonical form."""
        swapped = []
        for other in self.units:
            if labels[other[0]] != labels[unit[0]]:
                both = labels.copy()
                both[unit], both[other] = labels[other[0]], labels[unit[0]]
                if self.allows(both):
                    swapped.append(both)
        return swapped

    def neighbours(self, labels: np.ndarray) -> list[np.ndarray]:
        """Return those of the partitions with one unit elsewhere, in canonical form; no group is emptied. Where sizes
        leave no room for that, two units change places."""
        sizes, moved = np.bincount(labels), list[np.ndarray]()
        for unit in self.units:
            old = labels[unit[0]]
            for new in range(len(sizes)):
                if new != old and sizes[old] > len(unit):
                    other = labels.copy()
                    other[unit] = new
                    if self._is_free or self.allows(other):
                        moved.append(canonical(other))
        return moved or [canonical(other) for unit in self.units for other in self.swaps(labels, unit)]


def members_of(labels: np.ndarray) -> np.ndarray:
    """Return the (G, K) boolean members of a partition's groups."""
    return np.asarray(np.arange(int(labels.max()) + 1)[:, None] == labels)


def canonical(labels: np.ndarray) -> np.ndarray:
    """Number a partition's groups by their first tasks, so that equal partitions have equal labels."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])


def key_of(group: np.ndarray) -> bytes:
    """Return a key of a group (K,), boolean."""
    return np.packbits(group).tobytes()
