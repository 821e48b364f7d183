"""Proposals: the partitions that are worth measuring next, by what the surrogate expects and does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stg_ray.retraining.search.partitions import Partitions, canonical, key_of, members_of
from stg_ray.retraining.search.surrogate import GroupSurrogate

OPTIMISM = 1.0
"""Standard deviations that are added to the expectation of a group that is not measured (upper confidence bound)."""
MOST_SWEEPS = 20
"""Times that all tasks are tried elsewhere at most; a partition that nothing improves ends earlier."""


class Prospects:
    """What is to be expected of partitions: measured scores of their groups, and optimistic predictions of the others.

    Args:
        surrogate: of the measured groups.
        measured: sum of the measured scores of each measured group, by its members (`key_of`).
        optimism: standard deviations of what is not measured that are added to the expectation.
    """

    def __init__(self, surrogate: GroupSurrogate, measured: dict[bytes, float], optimism: float = OPTIMISM) -> None:
        self._surrogate = surrogate
        self._optimism = optimism
        self._known = {key: (value, 0.0) for key, value in measured.items()}

    def of_groups(self, groups: np.ndarray) -> np.ndarray:
        """Return the (Q, 2) expected sums of scores of groups (Q, K), none of them empty, and their variances."""
        keys = [key_of(group) for group in groups]
        unknown = {key: q for q, key in enumerate(keys) if key not in self._known}
        if unknown:
            mean, deviation = self._surrogate.predict(groups[list(unknown.values())])
            sums, variances = mean.sum(axis=1), np.square(deviation).sum(axis=1)
            self._known.update(zip(unknown, zip(sums.tolist(), variances.tolist(), strict=True), strict=True))
        return np.array([self._known[key] for key in keys])

    def of_sums(self, sums: np.ndarray) -> np.ndarray:
        """Return the (...,) prospects of partitions from the (..., 2) sums of their groups' expectations."""
        return np.asarray(sums[..., 0] + self._optimism * np.sqrt(np.maximum(sums[..., 1], 0)))

    def of_partitions(self, partitions: Sequence[np.ndarray]) -> np.ndarray:
        """Return the prospects of partitions (K,)."""
        members = [members_of(labels) for labels in partitions]
        starts = np.cumsum([0] + [len(groups) for groups in members[:-1]])
        return self.of_sums(np.add.reduceat(self.of_groups(np.concatenate(members)), starts, axis=0))


def propose(prospects: Prospects, partitions: Partitions, starts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Improve partitions by moving one task at a time (with those that it must be with), or two where sizes leave no
    room for one, as long as their prospects grow.

    Args:
        prospects: of groups.
        partitions: that may be proposed.
        starts: some of them (K,), of labels 0 to G - 1; none of their groups is emptied.

    Returns:
        Different partitions, those of the best prospects first.
    """
    found: dict[bytes, tuple[float, np.ndarray]] = {}
    for start in starts:
        labels = canonical(_improved(prospects, partitions, np.asarray(start).copy()))
        found.setdefault(labels.tobytes(), (float(prospects.of_partitions([labels])[0]), labels))
    return [labels for _, labels in sorted(found.values(), key=lambda each: -each[0])]


def _improved(prospects: Prospects, partitions: Partitions, labels: np.ndarray) -> np.ndarray:
    """Move each unit of tasks in turn to where it raises the prospect most, until none does."""
    members = members_of(labels)
    of_groups, allows = prospects.of_groups(members), partitions.conditions.allows
    for _ in range(MOST_SWEEPS):
        moved = has_room = False
        for unit in partitions.units:
            old = labels[unit[0]]
            without, with_unit = members[old].copy(), members.copy()
            without[unit] = False
            with_unit[:, unit] = True
            allowed = allows(with_unit)
            allowed[old] = False
            if not (without.any() and allows(without) and allowed.any()):
                continue
            has_room = True
            joined, left = prospects.of_groups(with_unit[allowed]), prospects.of_groups(without[None])[0]
            now = of_groups.sum(axis=0)
            values = prospects.of_sums(now - of_groups[allowed] - of_groups[old] + joined + left)
            best = int(values.argmax())
            if values[best] > prospects.of_sums(now) + 1e-9:
                new = int(np.flatnonzero(allowed)[best])
                members[old], members[new] = without, with_unit[new]
                of_groups[old], of_groups[new], labels[unit], moved = left, joined[best], new, True
        if not has_room:
            return _swapped(prospects, partitions, labels)
        if not moved:
            break
    return labels


def _swapped(prospects: Prospects, partitions: Partitions, labels: np.ndarray) -> np.ndarray:
    """Let units of tasks change places as long as that raises the prospect."""
    for _ in range(MOST_SWEEPS):
        before = labels
        for unit in partitions.units:
            others = partitions.swaps(labels, unit)
            if others:
                values = prospects.of_partitions([labels, *others])
                if values[1:].max() > values[0] + 1e-9:
                    labels = others[int(values[1:].argmax())]
        if labels is before:
            break
    return labels
