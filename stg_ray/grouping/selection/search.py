"""Selection by search, where there are too many groups to list them.

Without overlap it is a beam search over partitions that no single change improves. Units of tasks are moved between
groups, and swapped, as long as the total score grows; then some of them are shuffled, and it begins again. Conditions
on sizes and pairs weigh more than any score, so that the same moves repair a start that breaks them. With overlap,
tasks are then added to groups as helpers, or taken out (`helpers.py`).
"""

from __future__ import annotations

import numpy as np

from stg_ray.seeds import Stream, generator
from stg_ray.tasks.conditions import Conditions

BROKEN = 1e6
"""Weight of a broken condition: a task too many or too few, or a pair that should be apart."""

BEAM = 4
"""Partitions that are kept. Four independent searches reached lower scores at 40 tasks and more, and took longer; beams
of 2 or 8 reached lower scores, too."""

SHUFFLED = 0.35
"""Share of the units that are shuffled before a partition is improved again."""


def beam_search(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, seed: int) -> list[np.ndarray]:
    """Search for up to `BEAM` partitions in several rounds.

    Args:
        affinity: (K, K), centred, 0 on the diagonal.
        unit: (K,) unit of each task.
        conditions: that the groups keep.
        seed: of the starts.

    Returns:
        (n, K) boolean members of each partition's groups, the best first; those that break a condition come last.
    """
    rng = generator(Stream.SELECTION, seed)
    n_units = int(unit.max()) + 1
    n_groups = min(n_units, conditions.most_networks(len(unit)))
    value = _PartitionValue(affinity, unit, conditions)
    starts = [rng.permutation(np.arange(n_units) % n_groups) for _ in range(BEAM)]
    beam: dict[float, np.ndarray] = {}
    for _ in range(_n_rounds(len(unit))):
        for start in starts:
            label, total = _improved(value, start, n_groups)
            beam[round(total, 9)] = label  # the same partition with other numbers of the groups is the same
        beam = dict(sorted(beam.items(), reverse=True)[:BEAM])
        starts = []
        for label in beam.values():
            shuffled = rng.permutation(n_units)[: max(2, round(SHUFFLED * n_units))]
            starts.append(label.copy())
            starts[-1][shuffled] = label[rng.permutation(shuffled)]
    partitions = [np.eye(n_groups, dtype=bool)[:, label[unit]] for label in beam.values()]
    return [members[members.any(axis=1)] for members in partitions]


def _n_rounds(n_tasks: int) -> int:
    """Return the number of rounds; no time limit, so that a busy machine finds the same groups."""
    return max(4, min(60, 300_000 // n_tasks**2))


def _improved(value: _PartitionValue, start: np.ndarray, n_groups: int) -> tuple[np.ndarray, float]:
    """Improve a partition until no move or swap does.

    Args:
        value: of groups.
        start: (units,) group of each unit.
        n_groups: how many groups there may be; some may be empty.

    Returns:
        (units,) group of each unit, and the partition's total value.
    """
    label = start.copy()
    rows = np.arange(len(label))
    while True:
        inside = np.eye(n_groups)[label]
        of_groups = value.of(inside)
        # Taking unit u out of its group, then putting it into group h.
        loss = of_groups[label] - value.without(label)
        gain = value.with_one() - of_groups - loss[:, None]
        gain[rows, label] = 0
        best = np.unravel_index(gain.argmax(), gain.shape)
        if gain[best] > 1e-9:
            label[best[0]] = best[1]
            continue
        swap = value.of_swaps(label) - of_groups[label][:, None] - of_groups[label][None]
        best = np.unravel_index(swap.argmax(), swap.shape)
        if swap[best] <= 1e-9:
            return label, float(of_groups.sum())
        label[best[0]], label[best[1]] = label[best[1]], label[best[0]]


class _PartitionValue:
    """Values of groups: inner affinity / (size - 1), or / size by the objective `groups`; minus `BROKEN` for each
    condition that is broken."""

    def __init__(self, affinity: np.ndarray, unit: np.ndarray, conditions: Conditions) -> None:
        belongs = np.eye(int(unit.max()) + 1)[unit]
        self.pairs = belongs.T @ (affinity + affinity.T) / 2 @ belongs
        self.weight = belongs.sum(axis=0)
        self.apart = np.zeros_like(self.pairs)
        for a, b in conditions.pairs_apart:
            self.apart[unit[a], unit[b]] = self.apart[unit[b], unit[a]] = 1
        self.conditions, self.smallest, self.largest = conditions, conditions.min_size, conditions.largest(len(unit))

    def value(self, inner: np.ndarray, size: np.ndarray, clashes: np.ndarray) -> np.ndarray:
        """Return the values of groups by their inner affinity, size and number of pairs that should be apart."""
        too_few = np.where(size > 0, np.maximum(self.smallest - size, 0), 0)
        wrong = np.maximum(size - self.largest, 0) + too_few + clashes
        result: np.ndarray = inner / self.conditions.shared_by(size) - BROKEN * wrong
        return result

    def of(self, inside: np.ndarray) -> np.ndarray:
        """Return (G,) values of the groups `inside` (units, G), to which the other methods then refer."""
        self.to, self.against, self.size = self.pairs @ inside, self.apart @ inside, self.weight @ inside
        self.inner, self.clashes = (inside * self.to).sum(axis=0), (inside * self.against).sum(axis=0)
        return self.value(self.inner, self.size, self.clashes)

    def without(self, label: np.ndarray) -> np.ndarray:
        """Return (units,) the value of each unit's group without it."""
        rows = np.arange(len(label))
        inner = self.inner[label] - 2 * self.to[rows, label] + np.diag(self.pairs)
        clashes = self.clashes[label] - 2 * self.against[rows, label]
        return self.value(inner, self.size[label] - self.weight, clashes)

    def with_one(self) -> np.ndarray:
        """Return (units, G) the value of each group with one unit more."""
        inner = self.inner + 2 * self.to + np.diag(self.pairs)[:, None]
        return self.value(inner, self.size + self.weight[:, None], self.clashes + 2 * self.against)

    def of_swaps(self, label: np.ndarray) -> np.ndarray:
        """Return (units, units) the value of both units' groups after a swap; -inf where they are in one group."""
        one = self._with_in_place_of(label)
        total: np.ndarray = one + one.T
        total[label[:, None] == label] = -np.inf
        return total

    def _with_in_place_of(self, label: np.ndarray) -> np.ndarray:
        """Return (units, units) the value of the group of unit u (row) with unit v (column) in its place."""
        rows = np.arange(len(label))
        itself = np.diag(self.pairs)
        without = self.inner[label] - 2 * self.to[rows, label] + itself
        inner = without[:, None] + 2 * (self.to[:, label].T - self.pairs) + itself
        clashes_without = self.clashes[label] - 2 * self.against[rows, label]
        clashes = clashes_without[:, None] + 2 * (self.against[:, label].T - self.apart)
        size = (self.size[label] - self.weight)[:, None] + self.weight
        return self.value(inner, size, clashes)
