"""Selection under a budget, by the exact programme where all groups can be listed, else by search with a bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stg_ray.errors import InputError
from stg_ray.grouping.selection.bounds import upper_bound
from stg_ray.grouping.selection.columns import best_choice
from stg_ray.grouping.selection.helpers import add_helpers
from stg_ray.grouping.selection.problem import (
    Selection,
    group_values,
    off_diagonal_centred,
    serve,
    task_scores,
)
from stg_ray.grouping.selection.programme import all_groups, choose, kept_by
from stg_ray.grouping.selection.search import beam_search
from stg_ray.tasks.conditions import Conditions

NONE_KEEPS = "no choice of groups keeps all conditions on cost, sizes and pairs: loosen one"


def select(
    affinity: np.ndarray, conditions: Conditions, *, centre: bool = True, seconds: float = 8.0, seed: int = 0
) -> Selection:
    """Select groups that maximise the tasks' mean score.

    Args:
        affinity: (K, K); row a says how much task a gains from each other task.
        conditions: that the groups keep.
        centre: subtract the mean off-diagonal affinity; False where 0 already means as good as alone.
        seconds: time after which an unfinished proof is given up.
        seed: of the search's starts.

    Raises:
        InputError: the conditions contradict each other, or no groups are known that keep them.

    Example:
        >>> import numpy as np
        >>> gain = np.array([[0, 3, 0, 0], [2, 0, 0, 0], [0, 0, 0, 2], [0, 0, 1, 0]])
        >>> selection = select(gain, Conditions(networks=2))
        >>> selection.groups, selection.is_optimal
        ([(0, 1), (2, 3)], True)
    """
    n_tasks = len(affinity)
    affinity = off_diagonal_centred(affinity) if centre else np.where(np.eye(n_tasks, dtype=bool), 0, affinity)
    unit = conditions.units(n_tasks)
    members = all_groups(n_tasks, unit, conditions)
    if members is None:
        bound = upper_bound(affinity, unit, conditions, seconds=seconds / 4)
        return _search(affinity, unit, conditions, bound, seed)
    if not conditions.places_tasks:
        return _among_all(affinity, unit, members, conditions, seconds, seed)
    scores = task_scores(affinity, members)
    chosen, bound = choose(
        scores,
        conditions.cost_of(members.sum(axis=1)),
        networks=conditions.networks,
        cost=conditions.cost,
        overlap=True,
        networks_per_task=conditions.networks_per_task,
        seconds=seconds,
    )
    if bound == -math.inf:
        raise InputError(NONE_KEEPS)
    if chosen is None:
        return _search(affinity, unit, conditions, bound, seed)
    return serve(members[chosen], scores[chosen], bound, "all groups")


def _among_all(
    affinity: np.ndarray, unit: np.ndarray, members: np.ndarray, conditions: Conditions, seconds: float, seed: int
) -> Selection:
    """Choose among all groups (n, K), each of which has a value of its own, from the best that a search finds."""
    if not members.any(axis=0).all():
        raise InputError(NONE_KEEPS)
    beam = [m for m in beam_search(affinity, unit, conditions, seed) if not _is_broken(m, conditions)]
    known = _positions(members, beam[0]) if beam else np.zeros(0, dtype=np.intp)
    values = group_values(affinity, members, conditions)
    chosen, bound = best_choice(values, members, conditions, known, seconds=seconds)
    if bound == -math.inf:
        raise InputError(NONE_KEEPS)
    if chosen is None:
        return _search(affinity, unit, conditions, bound / len(affinity), seed)
    found = members[chosen]
    found = found[np.lexsort(~found.T[::-1])]  # by their first tasks, as they are read
    return _served(affinity, found, conditions, bound / len(affinity), "all groups")


def _positions(members: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the positions of groups (m, K) among all (n, K)."""
    sizes = members.sum(axis=1)
    return np.array([np.flatnonzero((sizes == g.sum()) & (members[:, g].all(axis=1)))[0] for g in groups])


def _served(affinity: np.ndarray, members: np.ndarray, conditions: Conditions, bound: float, method: str) -> Selection:
    """Return chosen groups (m, K) as a selection, scored by the objective."""
    scores = task_scores(affinity, members)
    if conditions.objective == "tasks":
        return serve(members, scores, bound, method)
    total = float(group_values(affinity, members, conditions).sum())
    return serve(members, scores, bound, method, score=total / len(affinity))


def select_measured(
    losses: np.ndarray,
    costs: Sequence[float] | np.ndarray | None = None,
    *,
    networks: int | None = None,
    cost: float | None = None,
    overlap: bool = True,
    seconds: float = 60.0,
) -> Selection:
    """Select the groups with the least mean loss, among n groups that were trained and measured.

    Args:
        losses: (n, K) loss of every task in each group; NaN where the task is no member.
        costs: (n,) of the groups; 1 each if not given.
        networks: groups at most.
        cost: total cost of the groups at most.
        overlap: whether a task may be in several groups; the one with the least loss serves it.
        seconds: time after which an unfinished proof is given up.

    Returns:
        A selection whose scores are minus the losses.

    Raises:
        InputError: a loss is infinite, or no choice serves every task within the budget.

    Example:
        >>> import numpy as np
        >>> losses = np.array([[0.2, np.nan], [np.nan, 0.3], [0.1, 0.5]])
        >>> one = select_measured(losses, networks=1)
        >>> one.groups, one.score
        ([(0, 1)], -0.3)
        >>> select_measured(losses, networks=2).groups
        [(1,), (0, 1)]
    """
    losses = np.asarray(losses, dtype=np.float64)
    if np.isinf(losses).any():
        raise InputError("a measured loss is infinite: leave that group out, or the task out of it (NaN)")
    costs = np.ones(len(losses)) if costs is None else np.asarray(costs, dtype=np.float64)
    chosen, bound = choose(-losses, costs, networks=networks, cost=cost, overlap=overlap, seconds=seconds)
    if chosen is None:
        raise InputError("no choice of these groups serves every task within the budget: raise it, or measure more")
    return serve(~np.isnan(losses[chosen]), -losses[chosen], bound, "all groups")


def _search(affinity: np.ndarray, unit: np.ndarray, conditions: Conditions, bound: float, seed: int) -> Selection:
    """Return the best of a beam of partitions, with helpers where groups may overlap."""
    beam = [m for m in beam_search(affinity, unit, conditions, seed) if not _is_broken(m, conditions)]
    if not beam:
        raise InputError("no search found groups that keep all conditions on cost, sizes and pairs: loosen one")
    if conditions.objective == "groups":
        members = _among_some(affinity, unit, beam, conditions) if conditions.overlap else beam[0]
        return _served(affinity, members, conditions, bound, "search")
    if conditions.overlap:
        beam = [add_helpers(affinity, unit, conditions, members) for members in beam]
    scores = [task_scores(affinity, members) for members in beam]
    best = int(np.argmax([np.nanmax(by_group, axis=0).mean() for by_group in scores]))
    return serve(beam[best], scores[best], bound, "search")


def _among_some(
    affinity: np.ndarray, unit: np.ndarray, beam: Sequence[np.ndarray], conditions: Conditions
) -> np.ndarray:
    """Return groups (m, K) that overlap: the best among those of partitions and all that differ from the best choice so
    far by one unit, until there is no better."""
    members, lowest = np.unique(np.concatenate(beam), axis=0), -math.inf
    chosen = beam[0]
    belongs = np.eye(int(unit.max()) + 1, dtype=bool)[:, unit]
    while True:
        changed = (chosen[:, None] ^ belongs).reshape(-1, len(unit))
        members = np.unique(np.concatenate([members, changed[kept_by(changed, conditions)]]), axis=0)
        values = group_values(affinity, members, conditions)
        found, _ = best_choice(values, members, conditions, _positions(members, chosen), seconds=2.0)
        if found is None or values[found].sum() <= lowest + 1e-9:
            return chosen
        chosen, lowest = members[found], float(values[found].sum())


def _is_broken(members: np.ndarray, conditions: Conditions) -> bool:
    """Whether groups break a condition."""
    cost = float(conditions.cost_of(members.sum(axis=1)).sum())
    too_dear = conditions.cost is not None and cost > conditions.cost * (1 + 1e-12)
    return too_dear or not kept_by(members, conditions).all()
