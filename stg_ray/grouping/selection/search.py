"""Selection by search, where there are too many groups to list them.

Without overlap: a beam search over partitions that no single change improves. Units of tasks are moved between groups,
and swapped, as long as the total score grows; a part of them is shuffled, and the same begins again. With overlap:
tasks are then added to groups as helpers, or taken out. Conditions on sizes and pairs weigh more than any score, so
that the same moves repair a start that breaks them.
"""

from __future__ import annotations

import numpy as np

from stg_ray.grouping.selection.problem import Conditions, task_scores
from stg_ray.seeds import Stream, generator

BROKEN = 1e6
"""Weight of a broken condition: a task too many or too few, or a pair that should be apart."""


BEAM = 4
"""Partitions that go on. Of as many searches, independent ones found less at 40 tasks and more, and took longer; 2 or 8
found less, too."""

SHUFFLED = 0.35
"""Share of the units that are shuffled before a partition is improved again."""


def beam_search(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, seed: int) -> list[np.ndarray]:
    """(n, K) members of the groups of up to `BEAM` partitions, each searched in several rounds, the best first; what
    breaks a condition comes last.

    Args:
        affinity: (K, K), centred, 0 on the diagonal.
        unit: (K,) unit of each task.
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
            some = rng.permutation(n_units)[: max(2, round(SHUFFLED * n_units))]
            starts.append(label.copy())
            starts[-1][some] = label[rng.permutation(some)]
    found = [np.eye(n_groups, dtype=bool)[:, label[unit]] for label in beam.values()]
    return [members[members.any(axis=1)] for members in found]


def _n_rounds(n_tasks: int) -> int:
    """Rounds for so many tasks: a number and not a time, so that a busy machine finds the same groups."""
    return max(4, min(60, 300_000 // n_tasks**2))


def _improved(value: _PartitionValue, start: np.ndarray, n_groups: int) -> tuple[np.ndarray, float]:
    """(units,) groups of a partition that no move or swap improves, and its total value; groups may be empty.

    Args:
        start: (units,) group of each unit.
    """
    label = start.copy()
    rows = np.arange(len(label))
    while True:
        inside = np.eye(n_groups)[label]
        own = value.of(inside)
        # Taking unit u out of its group, then putting it into group h.
        left = own[label] - value.without(label)
        gain = value.with_one() - own - left[:, None]
        gain[rows, label] = 0
        best = np.unravel_index(gain.argmax(), gain.shape)
        if gain[best] > 1e-9:
            label[best[0]] = best[1]
            continue
        swap = value.of_swaps(label) - own[label][:, None] - own[label][None]
        best = np.unravel_index(swap.argmax(), swap.shape)
        if swap[best] <= 1e-9:
            return label, float(own.sum())
        label[best[0]], label[best[1]] = label[best[1]], label[best[0]]


class _PartitionValue:
    """Values of groups: inner affinity / (size - 1), minus what is broken."""

    def __init__(self, affinity: np.ndarray, unit: np.ndarray, conditions: Conditions) -> None:
        belongs = np.eye(int(unit.max()) + 1)[unit]
        self.pairs = belongs.T @ (affinity + affinity.T) / 2 @ belongs
        self.weight = belongs.sum(axis=0)
        self.apart = np.zeros_like(self.pairs)
        for a, b in conditions.apart:
            self.apart[unit[a], unit[b]] = self.apart[unit[b], unit[a]] = 1
        self.smallest, self.largest = conditions.min_size, conditions.largest(len(unit))

    def value(self, inner: np.ndarray, size: np.ndarray, clashes: np.ndarray) -> np.ndarray:
        wrong = (
            np.maximum(size - self.largest, 0) + np.where(size > 0, np.maximum(self.smallest - size, 0), 0) + clashes
        )
        return inner / np.maximum(size - 1, 1) - BROKEN * wrong

    def of(self, inside: np.ndarray) -> np.ndarray:
        """(G,) values of the groups `inside` (units, G); the following are about these groups."""
        self.to, self.against, self.size = self.pairs @ inside, self.apart @ inside, self.weight @ inside
        self.inner, self.clashes = (inside * self.to).sum(axis=0), (inside * self.against).sum(axis=0)
        return self.value(self.inner, self.size, self.clashes)

    def without(self, label: np.ndarray) -> np.ndarray:
        """(units,) value of each unit's group without it."""
        rows = np.arange(len(label))
        inner = self.inner[label] - 2 * self.to[rows, label] + np.diag(self.pairs)
        clashes = self.clashes[label] - 2 * self.against[rows, label]
        return self.value(inner, self.size[label] - self.weight, clashes)

    def with_one(self) -> np.ndarray:
        """(units, G) value of each group with one unit more."""
        inner = self.inner + 2 * self.to + np.diag(self.pairs)[:, None]
        return self.value(inner, self.size + self.weight[:, None], self.clashes + 2 * self.against)

    def of_swaps(self, label: np.ndarray) -> np.ndarray:
        """(units, units) value of both units' groups after their swap; -inf where they are in one group."""
        one = self._with_in_place_of(label)
        total = one + one.T
        total[label[:, None] == label] = -np.inf
        return total

    def _with_in_place_of(self, label: np.ndarray) -> np.ndarray:
        """(u, v) value of u's group with v in place of u."""
        rows = np.arange(len(label))
        own, weight, inner = label, self.weight, np.diag(self.pairs)
        to_own, against_own = self.to[:, own].T, self.against[:, own].T
        without = self.inner[own] - 2 * self.to[rows, own] + inner
        changed = without[:, None] + 2 * (to_own - self.pairs) + inner
        clashes = (self.clashes[own] - 2 * self.against[rows, own])[:, None] + 2 * (against_own - self.apart)
        return self.value(changed, (self.size[own] - weight)[:, None] + weight, clashes)


def add_helpers(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, members: np.ndarray) -> np.ndarray:
    """(n, K) members after adding helpers to groups, and taking units out, as long as the mean of the tasks' best
    scores grows and all conditions are kept.

    Args:
        affinity: (K, K), centred, 0 on the diagonal.
        members: (n, K) groups that keep the conditions and serve every task.
    """
    members = members[members.any(axis=1)].copy()
    n_tasks = len(affinity)
    belongs = np.eye(int(unit.max()) + 1, dtype=bool)[:, unit]
    to_units = belongs @ affinity.T  # (units, K) what each task has from each unit
    weight = belongs.sum(axis=1)
    apart = np.zeros((n_tasks, n_tasks), dtype=bool)
    for a, b in conditions.apart:
        apart[a, b] = apart[b, a] = True
    against = np.float32(belongs @ apart)  # (units, K)
    while True:
        scores = np.nan_to_num(task_scores(affinity, members), nan=-np.inf)
        total = scores.max(axis=0).sum()
        best: tuple[float, int, np.ndarray] | None = None
        for g, own in enumerate(members):
            # All units at once: those in the group are taken out, the others put in.
            sign = np.where(own[belongs.argmax(axis=1)], -1, 1)
            sizes = own.sum() + sign * weight
            kept = (sizes >= conditions.min_size) & (sizes <= conditions.largest(n_tasks))
            kept &= (sign < 0) | (against @ own == 0)
            if conditions.cost is not None:
                rest = conditions.cost_of(np.delete(members, g, axis=0).sum(axis=1)).sum()  # type: ignore[union-attr]
                kept &= rest + conditions.cost_of(sizes) <= conditions.cost * (1 + 1e-12)
            if not kept.any():
                continue
            toggled = own ^ belongs[kept]
            sums = affinity @ own + sign[kept, None] * to_units[kept]
            theirs = np.where(toggled, sums / np.maximum(sizes[kept] - 1, 1)[:, None], -np.inf)
            elsewhere = np.delete(scores, g, axis=0).max(axis=0, initial=-np.inf)
            gains = np.maximum(theirs, elsewhere).sum(axis=1) - total
            if gains.max() > max(1e-9, best[0] if best else 0):
                best = (float(gains.max()), g, toggled[gains.argmax()])
        if best is None:
            return members
        members[best[1]] = best[2]
