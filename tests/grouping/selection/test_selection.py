"""Selection under a budget: equal to enumeration where that is possible, and honest about the rest."""

from __future__ import annotations

import os
import time
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg_ray.errors import InputError
from stg_ray.grouping.selection import Conditions, Selection, select, select_measured
from stg_ray.grouping.selection.bounds import upper_bound
from stg_ray.grouping.selection.helpers import add_helpers
from stg_ray.grouping.selection.problem import off_diagonal_centred, task_scores
from stg_ray.grouping.selection.search import beam_search


def affinity(n_tasks: int, seed: int, n_blocks: int | None = None, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = noise * rng.normal(size=(n_tasks, n_tasks))
    if n_blocks is not None:
        labels = rng.permutation(np.arange(n_tasks) % n_blocks)
        values += labels[:, None] == labels
    return values


def score_of(members: tuple[int, ...], task: int, values: np.ndarray) -> float:
    """The definition, one task at a time."""
    off_diagonal = values[~np.eye(len(values), dtype=bool)].mean()
    others = [values[task, other] - off_diagonal for other in members if other != task]
    return sum(others) / len(others) if others else 0.0


def admissible(n_tasks: int, conditions: Conditions) -> list[tuple[int, ...]]:
    every = chain.from_iterable(combinations(range(n_tasks), size) for size in range(1, n_tasks + 1))
    return [
        members
        for members in every
        if conditions.min_size <= len(members) <= (conditions.max_size or n_tasks)
        and all((a in members) == (b in members) for a, b in conditions.together)
        and not any(a in members and b in members for a, b in conditions.apart)
    ]


def is_affordable(groups: tuple[tuple[int, ...], ...], conditions: Conditions) -> bool:
    cost = sum(conditions.network_cost + conditions.task_cost * len(members) for members in groups)
    return (conditions.networks is None or len(groups) <= conditions.networks) and (
        conditions.cost is None or cost <= conditions.cost + 1e-9
    )


def best_with_overlap(values: np.ndarray, conditions: Conditions) -> float | None:
    """The best mean score over all sets of up to three groups."""
    n_tasks = len(values)
    groups = admissible(n_tasks, conditions)
    scores = np.full((len(groups), n_tasks), -np.inf)
    for g, members in enumerate(groups):
        for task in members:
            scores[g, task] = score_of(members, task, values)
    costs = np.array([conditions.network_cost + conditions.task_cost * len(members) for members in groups])
    best = -np.inf
    for n_groups in range(1, min(3, conditions.networks or 3, len(groups)) + 1):
        chosen = np.array(list(combinations(range(len(groups)), n_groups)))
        if conditions.cost is not None:
            chosen = chosen[costs[chosen].sum(axis=1) <= conditions.cost + 1e-9]
        means = np.max([scores[column] for column in chosen.T], axis=0).mean(axis=1)
        best = max(best, means.max(initial=-np.inf))
    return None if best == -np.inf else float(best)


def best_partition(values: np.ndarray, conditions: Conditions) -> float | None:
    """The best mean score over all partitions, built task by task."""
    n_tasks = len(values)
    allowed = {
        members: sum(score_of(members, t, values) for t in members) for members in admissible(n_tasks, conditions)
    }
    best = [-np.inf]

    def extend(task: int, groups: list[list[int]]) -> None:
        if task == n_tasks:
            found = tuple(tuple(members) for members in groups)
            if all(members in allowed for members in found) and is_affordable(found, conditions):
                best[0] = max(best[0], sum(allowed[members] for members in found))
            return
        for members in groups:
            members.append(task)
            extend(task + 1, groups)
            members.pop()
        if conditions.networks is None or len(groups) < conditions.networks:
            extend(task + 1, [*groups, [task]])

    extend(0, [])
    return None if best[0] == -np.inf else best[0] / n_tasks


def check_kept(found: Selection, values: np.ndarray, conditions: Conditions) -> None:
    """The answer keeps every condition, and its score is what the definition says."""
    n_tasks = len(values)
    for members in found.groups:
        assert conditions.min_size <= len(members) <= (conditions.max_size or n_tasks)
        assert all((a in members) == (b in members) for a, b in conditions.together)
        assert not any(a in members and b in members for a, b in conditions.apart)
    assert is_affordable(tuple(found.groups), conditions)
    own = [score_of(found.groups[g], task, values) for task, g in enumerate(found.serving)]
    assert all(task in found.groups[g] for task, g in enumerate(found.serving))
    assert found.score == pytest.approx(np.mean(own))
    if not conditions.overlap:
        assert sorted(chain.from_iterable(found.groups)) == list(range(n_tasks))
    assert found.bound >= found.score


@st.composite
def problems(draw: st.DrawFn, max_tasks: int, max_networks: int, overlap: bool) -> tuple[np.ndarray, Conditions]:
    n_tasks = draw(st.integers(2, max_tasks))
    seed = draw(st.integers(0, 10_000))
    blocks = draw(st.sampled_from([None, 2, 3]))
    values = affinity(n_tasks, seed, blocks)
    if draw(st.booleans()):
        values = values.round(1)  # ties
    pairs = list(combinations(range(n_tasks), 2))
    priced = draw(st.booleans())
    networks = draw(st.integers(1, max_networks))
    task_cost = draw(st.sampled_from([0.0, 0.25]))
    return values, Conditions(
        networks=networks,
        cost=networks + task_cost * n_tasks * draw(st.sampled_from([1.0, 1.5])) if priced else None,
        task_cost=task_cost if priced else 0.0,
        min_size=draw(st.integers(1, 2)),
        max_size=draw(st.sampled_from([None, 3, 5])),
        together=draw(st.lists(st.sampled_from(pairs), max_size=1)),
        apart=draw(st.lists(st.sampled_from(pairs), max_size=2)),
        overlap=overlap,
    )


def check_against(best: float | None, values: np.ndarray, conditions: Conditions) -> None:
    if best is None:
        with pytest.raises(InputError):
            select(values, conditions)
        return
    found = select(values, conditions)
    assert found.score == pytest.approx(best, abs=1e-9)
    assert found.is_optimal
    assert found.gap == 0
    check_kept(found, values, conditions)


@settings(max_examples=25)
@given(problems(max_tasks=7, max_networks=3, overlap=True))
def test_with_overlap_it_equals_enumeration(problem: tuple[np.ndarray, Conditions]) -> None:
    check_against(best_with_overlap(*problem), *problem)


@pytest.mark.parametrize("seed", range(3))
def test_with_overlap_it_equals_enumeration_of_seven_tasks(seed: int) -> None:
    values, conditions = affinity(7, seed, 3 if seed else None), Conditions(networks=3, overlap=True)
    check_against(best_with_overlap(values, conditions), values, conditions)


@settings(max_examples=25)
@given(problems(max_tasks=10, max_networks=4, overlap=False))
def test_without_overlap_it_equals_enumeration(problem: tuple[np.ndarray, Conditions]) -> None:
    check_against(best_partition(*problem), *problem)


@pytest.mark.parametrize("seed", range(3))
def test_without_overlap_it_equals_enumeration_of_ten_tasks(seed: int) -> None:
    values, conditions = affinity(10, seed, 3 if seed else None), Conditions(networks=4)
    check_against(best_partition(values, conditions), values, conditions)


@given(problems(max_tasks=9, max_networks=4, overlap=False), st.booleans())
def test_bounds_hold_and_searches_keep_the_conditions(problem: tuple[np.ndarray, Conditions], overlap: bool) -> None:
    """What is used where no enumeration is possible, where it is."""
    values, conditions = problem
    n_tasks = len(values)
    try:
        exact = select(values, conditions)
    except InputError:
        return
    unit = conditions.units(n_tasks)
    inner = off_diagonal_centred(values)
    bound = upper_bound(inner, unit, conditions, seconds=5)
    assert bound >= exact.score - 1e-9
    before = beam_search(inner, unit, conditions, 0)[0]
    assert (before.sum(axis=0) == 1).all()
    assert len(before) <= conditions.most_networks(n_tasks)
    score = np.nanmax(task_scores(inner, before), axis=0).mean()
    assert score <= exact.score + 1e-9
    # From three pairs no single move or swap leads to two triples where groups have two tasks at least.
    if conditions.min_size == 1:
        assert score == pytest.approx(exact.score), "so few tasks it solves"
    if not overlap:
        return
    wide = Conditions(**{**vars(conditions), "overlap": True})
    assert upper_bound(inner, unit, wide, seconds=5) >= select(values, wide).score - 1e-9
    sizes = before.sum(axis=1)
    if sizes.max() <= wide.largest(n_tasks) and sizes.min() >= wide.min_size:
        after = add_helpers(inner, unit, wide, before)
        assert (after.any(axis=0)).all()
        assert after.sum(axis=1).max() <= wide.largest(n_tasks)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("options", [{}, {"min_size": 4, "max_size": 12, "together": [(0, 1)], "apart": [(2, 3)]}])
def test_forty_tasks_within_ten_seconds(overlap: bool, options: dict[str, Any]) -> None:
    values = affinity(40, 1)
    conditions = Conditions(networks=5, overlap=overlap, **options)
    began = time.monotonic()
    found = select(values, conditions)
    assert time.monotonic() - began < 10
    check_kept(found, values, conditions)
    assert 0 < found.gap < np.inf


def test_planted_groups_of_forty_and_two_hundred_tasks_are_selected() -> None:
    for n_tasks, n_blocks in ((40, 4), (200, 20)):
        rng = np.random.default_rng(0)
        labels = rng.permutation(np.arange(n_tasks) % n_blocks)
        values = np.where(labels[:, None] == labels, 1.0, 0.0) + 0.1 * rng.normal(size=(n_tasks, n_tasks))
        found = select(values, Conditions(networks=n_blocks))
        assert {frozenset(members) for members in found.groups} == {
            frozenset(np.flatnonzero(labels == block).tolist()) for block in range(n_blocks)
        }
        assert found.gap < 0.1 * found.score


def test_what_cannot_be_kept_is_said() -> None:
    values = affinity(6, 0)
    for options, message in (
        ({"networks": 2, "max_size": 2}, "too few for 6 tasks"),
        ({"cost": 0.5}, "pays for 0 groups"),
        ({"together": [(0, 1), (1, 2)], "apart": [(0, 2)], "names": "abcdef"}, "'a' and 'c' must be apart"),
        ({"together": [(0, 1), (1, 2)], "max_size": 2}, "3 tasks must be together"),
        ({"min_size": 7}, "at least 7"),
        ({"networks": 2, "apart": [(0, 1), (1, 2), (0, 2)]}, "no choice of groups keeps all conditions"),
    ):
        with pytest.raises(InputError, match=message):
            select(values, Conditions(**options))
    large = affinity(30, 0)
    clique = list(combinations(range(4), 2))
    with pytest.raises(InputError, match="no search found"):
        select(large, Conditions(networks=3, apart=clique))


def test_measured_losses() -> None:
    losses = np.array([[0.2, np.nan], [np.nan, 0.3], [0.1, 0.5]])
    assert select_measured(losses, networks=1).groups == [(0, 1)]
    best = select_measured(losses, networks=2)
    assert best.groups == [(1,), (0, 1)]
    assert best.serving.tolist() == [1, 0]
    assert best.score == pytest.approx(-0.2)
    assert select_measured(losses, networks=2, overlap=False).groups == [(0,), (1,)]
    assert select_measured(losses, [1, 1, 5], cost=2).groups == [(0,), (1,)]
    with pytest.raises(InputError, match="no choice of these groups"):
        select_measured(losses[:1], networks=1)
    with pytest.raises(InputError, match="infinite"):
        select_measured(np.array([[np.inf]]), networks=1)


REAL = Path(os.environ.get("STG_RAY_DATA", "nowhere"))


@pytest.mark.skipif(not (REAL / "taskonomy_groups").is_dir(), reason="no taskonomy_groups/ in $STG_RAY_DATA")
@pytest.mark.parametrize("measure", ["validation", "test"])
@pytest.mark.parametrize("setting", [1, 2, 3, 4])
def test_taskonomy_equals_brute_force_under_every_budget(setting: int, measure: str) -> None:
    """All 31 groups of full size for 1 to 5 networks; with the half-size networks, too, for budgets in halves."""
    table = pd.read_csv(REAL / "taskonomy_groups" / "group_losses.csv", dtype={"group": str})
    table = table[(table["setting"] == setting) & (table["measure"] == measure)]
    for kept in (["full"], ["full", "half"]):
        rows = table[table["network"].isin(kept)]
        losses = rows[[f"loss_t{t}" for t in range(5)]].to_numpy(dtype=np.float64)
        costs = np.where(rows["network"] == "full", 1.0, 0.5)
        filled = np.nan_to_num(losses, nan=np.inf)
        best: dict[float, float] = {}
        for n_groups in range(1, 6):
            chosen = np.array(list(combinations(range(len(losses)), n_groups)))
            means = filled[chosen].min(axis=1).mean(axis=1)
            spent = costs[chosen].sum(axis=1)
            for budget in np.unique(spent):
                best[budget] = min(best.get(budget, np.inf), means[spent == budget].min())
        for budget in np.arange(1, 5.5, 1.0 if kept == ["full"] else 0.5):
            found = select_measured(losses, costs, cost=budget)
            assert -found.score == pytest.approx(min(v for b, v in best.items() if b <= budget), abs=1e-12)
            assert found.is_optimal
