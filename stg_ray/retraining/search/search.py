"""The search: ask it which groups to measure, tell it their scores, and take the best partition of measured groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from stg_ray.errors import InputError
from stg_ray.retraining.search.partitions import Partitions, canonical, key_of, members_of
from stg_ray.retraining.search.proposals import Prospects, propose
from stg_ray.retraining.search.surrogate import GroupSurrogate
from stg_ray.seeds import Stream, generator
from stg_ray.shown import counted, plain, ranged
from stg_ray.tasks.conditions import Conditions

N_RANDOM_STARTS = 8
"""Random partitions from which each proposal is also looked for."""
N_RANDOM_OTHERS = 100
"""Random partitions that are compared with the neighbours of the proposals."""
N_NEIGHBOURHOODS = 3
"""Proposals whose neighbours are looked at where they are measured already."""


class GroupSearch:
    """A search for the partition of K tasks into groups whose networks score best on validation rows.

    All-in-one and the candidates are measured first; then, each time, the partition of the best prospects. What is
    asked depends on what was told alone, so a search that was interrupted goes on as it would have.

    Args:
        n_tasks: K.
        n_groups: number of groups, or the fewest and the most.
        budget: number of groups to measure at most, all-in-one among them.
        candidates: partitions (K,) into as many groups to measure first, the likeliest first; two random ones follow.
        affinity: (K, K) how alike tasks are, where it is known.
        seed: of what is drawn.
        conditions: on the groups, with the keys of `grouping.budget`; the network of all tasks, which the others are
            compared with, need not keep them. None: there are none.

    Raises:
        InputError: more groups than tasks, a budget of no group, an affinity of another shape, a candidate that is no
            partition into so many groups or breaks the conditions, or conditions that allow no such number of groups.

    Example:
        >>> search = GroupSearch(n_tasks=4, n_groups=2, budget=10)
        >>> while groups := search.ask():
        ...     for group in groups:  # tasks 0 and 1, and 2 and 3, help each other
        ...         pairs = group[[0, 2]] & group[[1, 3]]
        ...         search.tell(group, np.where(group, np.repeat(pairs, 2) - group.sum() / 9, np.nan))
        >>> search.best().tolist()
        [0, 0, 1, 1]
        >>> search
        GroupSearch(4 tasks, 9 of 10 groups measured)
    """

    def __init__(
        self,
        n_tasks: int,
        n_groups: int | tuple[int, int],
        budget: int,
        candidates: Sequence[np.ndarray] = (),
        affinity: np.ndarray | None = None,
        seed: int = 0,
        conditions: Mapping[str, Any] | Conditions | None = None,
    ) -> None:
        fewest, most = _range_of(n_groups, n_tasks)
        if not isinstance(budget, int | np.integer) or budget < 1:
            raise InputError(f"budget={plain(budget)}: expected the number of groups to measure at most, 1 or more")
        if affinity is not None and np.shape(affinity) != (n_tasks, n_tasks):
            raise InputError(f"the affinity has the shape {np.shape(affinity)}: expected ({n_tasks}, {n_tasks})")
        for labels in candidates:
            if np.shape(labels) != (n_tasks,) or not fewest <= len(np.unique(labels)) <= most:
                raise InputError(
                    f"a candidate has the shape {np.shape(labels)} and {len(np.unique(labels))} groups: expected a "
                    f"label for each of {n_tasks} tasks, {ranged(fewest, most)} different ones"
                )
        conditions = Conditions.of_positions(conditions or {})
        self.partitions = Partitions(n_tasks, fewest, most, conditions)
        for labels in candidates:
            if broken := conditions.broken_by(members_of(canonical(np.asarray(labels)))):
                raise InputError(f"a candidate breaks the conditions: {broken}; expected groups that keep them")
        self.n_tasks, self.fewest, self.most, self.budget = n_tasks, fewest, most, budget
        self.affinity = affinity
        self._rng = generator(Stream.GROUP_SEARCH, seed)
        self._queue = [canonical(np.asarray(labels)) for labels in candidates]
        self._queue += self._random(2)
        if not self._queue:
            raise InputError(
                f"no partition into {ranged(fewest, most)} groups was found that keeps the conditions: loosen them, "
                "or allow other numbers of groups"
            )
        self._groups: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._asked: set[bytes] = set()

    def __repr__(self) -> str:
        measured = f"{len(self._scores)} of {counted(self.budget, 'group')} measured"
        return f"GroupSearch({counted(self.n_tasks, 'task')}, {measured})"

    def ask(self, at_least: int = 1) -> list[np.ndarray]:
        """Return the groups (K,), boolean, to measure next; none where the search is over.

        Args:
            at_least: number of groups that can be measured at a time; partitions are added until there are as many.
                What is known when they are asked for is the same for all of them.

        Raises:
            RuntimeError: not all that was asked for has been told.
        """
        if len(self._scores) < len(self._asked):
            raise RuntimeError("tell the scores of what was asked for first")
        wanted = [] if self._asked else self._wanted([np.ones(self.n_tasks, dtype=bool)])
        while self._queue and len(wanted) < at_least:
            wanted += self._wanted_of(self._queue.pop(0))
        if self._scores and len(wanted) < at_least:
            for labels in self._proposals():
                wanted += self._wanted_of(labels)
                if len(wanted) >= at_least:
                    break
        return wanted

    def tell(self, group: np.ndarray, scores: np.ndarray) -> None:
        """Take the scores of a measured group.

        Args:
            group: (K,) boolean, one of those that `ask` returned.
            scores: (K,) of its tasks, larger is better; NaN for a task that is not in it, or has no score.

        Raises:
            InputError: the group was not asked for, or was told before; or scores are not K finite numbers, and NaN
                outside of the group.
        """
        group, scores = np.asarray(group), np.asarray(scores, dtype=np.float64)
        shape = (self.n_tasks,)
        if group.shape != shape or group.dtype != bool or scores.shape != shape:
            raise InputError(
                f"a group of the shape {group.shape}, {group.dtype}, and scores of the shape {scores.shape}: expected "
                f"a boolean and a score for each of {self.n_tasks} tasks"
            )
        if key_of(group) not in self._asked or any(np.array_equal(group, own) for own in self._groups):
            told = np.flatnonzero(group).tolist()
            raise InputError(
                f"the group of the tasks {told} is not waited for: give scores once, of what was asked for"
            )
        if np.isinf(scores).any() or not np.isnan(scores[~group]).all():
            raise InputError("scores are infinite, or are given for tasks outside of the group: expected NaN there")
        self._groups.append(group)
        self._scores.append(scores)

    def best(self) -> np.ndarray:
        """Return the partition (K,) into measured groups with the largest sum of scores.

        Any measured groups may make it, not only those that were proposed together.

        Raises:
            RuntimeError: nothing was told yet, or the budget did not suffice for any partition.
        """
        best = self._best()
        if best is None:
            raise RuntimeError("no partition was measured whole")
        return best

    def finalists(self, number: int, given: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
        """Return different partitions (K,) into measured groups, the likeliest to be the best.

        The best by its scores, which may be luck; those that are given; and those of which the surrogate, which knows
        the noise, expects the most among all partitions into measured groups, one after the other.

        Args:
            number: of partitions at most; at least one is returned.
            given: partitions that are among them if their groups were measured.
        """
        found = [self.best()]
        if number < 2:
            return found
        for labels in map(canonical, given):
            is_measured = all(key_of(group) in self._asked for group in members_of(labels))
            is_possible = is_measured and self.partitions.allows(labels)
            if len(found) < number and is_possible and not _is_among(labels, found):
                found.append(labels)
        expected = self.surrogate().predict(np.array(self._groups))[0].sum(axis=1)
        while len(found) < number:
            best = self._cover(expected, without=found)
            if best is None:
                break
            found.append(best)
        return found

    def surrogate(self) -> GroupSurrogate:
        """Return the surrogate of what has been told so far.

        Raises:
            RuntimeError: nothing was told yet.
        """
        if not self._scores:
            raise RuntimeError("no group was measured yet")
        return GroupSurrogate(np.array(self._groups), np.array(self._scores), self.affinity)

    def _proposals(self) -> Iterator[np.ndarray]:
        """Partitions that may be worth measuring next, the best prospects first."""
        best = self._best()
        starts = [*([] if best is None else [best]), *self._random(N_RANDOM_STARTS)]
        prospects = Prospects(self.surrogate(), self._sums())
        found = propose(prospects, self.partitions, starts)
        yield from found
        # Where the best prospects are measured already, something near them, or elsewhere, is not.
        others = [labels for optimum in found[:N_NEIGHBOURHOODS] for labels in self.partitions.neighbours(optimum)]
        others += self._random(N_RANDOM_OTHERS)
        if not others:
            return
        order = np.argsort(-prospects.of_partitions(others), kind="stable")
        yield from (others[i] for i in order)

    def _best(self) -> np.ndarray | None:
        """The best partition of measured groups by their scores; None where there is none."""
        if not self._scores:
            return None
        return self._cover(np.nansum(np.array(self._scores), axis=1))

    def _cover(self, sums: np.ndarray, without: Sequence[np.ndarray] = ()) -> np.ndarray | None:
        """The partition into measured groups with the largest sum: an exact cover, by integer programming.

        Args:
            sums: (Q,) of the measured groups.
            without: partitions that are not looked for.
        """
        members = np.array(self._groups, dtype=np.float64)
        constraints = [
            LinearConstraint(members.T, 1, 1),
            LinearConstraint(np.ones(len(members)), self.fewest, self.most),
        ]
        allowed = self.partitions.conditions.allows(members > 0)
        for labels in without:  # not all of its groups at once
            keys = {key_of(group) for group in members_of(labels)}
            of_it = np.array([key_of(group) in keys for group in self._groups], dtype=np.float64)
            constraints.append(LinearConstraint(of_it, 0, len(keys) - 1))
        solution = milp(-sums, integrality=np.ones(len(members)), bounds=Bounds(0, allowed), constraints=constraints)
        return None if solution.x is None else canonical(members[solution.x > 0.5].argmax(axis=0))

    def _wanted_of(self, labels: np.ndarray) -> list[np.ndarray]:
        """The groups of a partition that are to be measured; none where that is too many, or all are."""
        wanted = [group for group in members_of(labels) if key_of(group) not in self._asked]
        if len(self._asked) + len(wanted) > self.budget:
            return []
        return self._wanted(wanted)

    def _wanted(self, groups: list[np.ndarray]) -> list[np.ndarray]:
        self._asked |= {key_of(group) for group in groups}
        return groups

    def _sums(self) -> dict[bytes, float]:
        pairs = zip(self._groups, self._scores, strict=True)
        return {key_of(group): float(np.nansum(scores)) for group, scores in pairs}

    def _random(self, number: int) -> list[np.ndarray]:
        """Random partitions, fewer where conditions make them hard to find."""
        drawn = [self.partitions.random(self._rng) for _ in range(number)]
        return [labels for labels in drawn if labels is not None]


def _range_of(n_groups: int | tuple[int, int], n_tasks: int) -> tuple[int, int]:
    """The fewest and the most groups."""
    given = n_groups if isinstance(n_groups, tuple | list) else (n_groups, n_groups)
    if len(given) != 2 or not all(isinstance(n, int | np.integer) for n in given):
        raise InputError(f"n_groups={plain(n_groups)}: expected a whole number, or the fewest and the most")
    if not 1 <= given[0] <= given[1] <= n_tasks:
        raise InputError(f"n_groups={n_groups} of {n_tasks} tasks: expected 1 to {n_tasks}")
    return int(given[0]), int(given[1])


def _is_among(labels: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    return any(np.array_equal(labels, other) for other in others)
