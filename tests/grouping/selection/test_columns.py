"""The exact choice among very many groups, and the objective of Principled Task Grouping, against enumeration."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stg_ray as sr
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.checks import check
from stg_ray.config.loading import load_config
from stg_ray.data.parts import index_of
from stg_ray.errors import InputError
from stg_ray.grouping.selection import Conditions, Selection, columns, select
from stg_ray.grouping.selection.bounds import upper_bound
from stg_ray.grouping.selection.problem import off_diagonal_centred
from stg_ray.grouping.selection.solve import _search

Group = tuple[int, ...]


def gains(n_tasks: int, seed: int, *, shift: float = 0.0) -> np.ndarray:
    """Directed gains; the diagonal must not matter."""
    return shift + np.random.default_rng(seed).normal(size=(n_tasks, n_tasks)).round(1)


def value_of(group: Group, values: np.ndarray) -> float:
    """The definition: the affinities between members, both directions, over their number."""
    return sum(values[i, k] for i in group for k in group if i != k) / len(group)


def choices(n_tasks: int, conditions: Conditions) -> Iterator[tuple[Group, ...]]:
    """All sets of different groups that keep the conditions, which limit their number."""
    most = conditions.networks or 1
    sizes = range(conditions.min_size, min(n_tasks, conditions.max_size or n_tasks) + 1)
    groups = [
        group
        for group in chain.from_iterable(combinations(range(n_tasks), size) for size in sizes)
        if all((a in group) == (b in group) for a, b in conditions.together)
        and not any(a in group and b in group for a, b in conditions.apart)
    ]
    for chosen in chain.from_iterable(combinations(groups, n) for n in range(1, most + 1)):
        times = np.bincount(list(chain.from_iterable(chosen)), minlength=n_tasks)
        most_times = (conditions.networks_per_task or most) if conditions.overlap else 1
        cost = sum(conditions.network_cost + conditions.task_cost * len(group) for group in chosen)
        if times.min() >= 1 and times.max() <= most_times and cost <= (conditions.cost or np.inf) + 1e-9:
            yield chosen


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, Conditions]:
    n_tasks = draw(st.integers(2, 6))
    values = gains(n_tasks, draw(st.integers(0, 10_000)), shift=draw(st.sampled_from([-0.5, 0.0, 0.5])))
    overlap = draw(st.booleans())
    pairs = st.sampled_from(list(combinations(range(n_tasks), 2)))
    return values, Conditions(
        networks=draw(st.integers(1, 3)),
        cost=draw(st.sampled_from([None, 2.0 + 0.25 * n_tasks])),
        task_cost=0.25,
        min_size=draw(st.integers(1, 2)),
        max_size=draw(st.sampled_from([None, 3, 4])),
        together=draw(st.lists(pairs, max_size=1)),
        apart=draw(st.lists(pairs, max_size=2)),
        overlap=overlap,
        networks_per_task=draw(st.sampled_from([None, 1, 2])) if overlap else None,
        objective="groups",
    )


@settings(max_examples=60)
@given(problems())
def test_the_sum_over_groups_is_the_best_of_all_sets_of_groups(problem: tuple[np.ndarray, Conditions]) -> None:
    values, conditions = problem
    sums = {chosen: sum(value_of(g, values) for g in chosen) for chosen in choices(len(values), conditions)}
    if not sums:
        with pytest.raises(InputError):
            select(values, conditions, centre=False)
        return
    found = select(values, conditions, centre=False)
    assert found.score * len(values) == pytest.approx(max(sums.values()), abs=1e-9)
    assert found.is_optimal
    assert all(task in found.groups[g] for task, g in enumerate(found.serving))
    # Groups that serve no task better than others are left out: what is left is part of a best choice.
    best = [chosen for chosen, total in sums.items() if total > max(sums.values()) - 1e-9]
    assert any(set(found.groups) <= set(chosen) for chosen in best)


@given(problems())
def test_bounds_hold_and_a_search_keeps_the_conditions(problem: tuple[np.ndarray, Conditions]) -> None:
    """What is used where no enumeration is possible, where it is."""
    values, conditions = problem
    np.fill_diagonal(values, 0)
    try:
        exact = select(values, conditions, centre=False)
    except InputError:
        return
    unit = conditions.units(len(values))
    bound = upper_bound(values, unit, conditions, seconds=5)
    assert bound >= exact.score - 1e-9
    try:
        found = _search(values, unit, conditions, bound, 0)
    except InputError:
        return
    assert found.score <= exact.score + 1e-9
    times = np.bincount(list(chain.from_iterable(found.groups)), minlength=len(values))
    assert times.min() >= 1
    assert times.max() <= (conditions.networks_per_task or 3)


@given(problems())
def test_a_task_is_in_so_many_groups_at_most_where_its_score_counts(problem: tuple[np.ndarray, Conditions]) -> None:
    values, conditions = problem
    conditions = Conditions(**{**vars(conditions), "objective": "tasks", "overlap": True, "networks_per_task": 1})
    try:
        found = select(values, conditions)
    except InputError:
        assert not list(choices(len(values), conditions))
        return
    assert sorted(chain.from_iterable(found.groups)) == list(range(len(values)))
    assert found.score == pytest.approx(
        select(values, Conditions(**{**vars(conditions), "overlap": False, "networks_per_task": None})).score
    )


def best_three(values: np.ndarray, others: int) -> float:
    """The largest sum over partitions into up to three groups, of affinities / (size - others), by recursion."""
    n_tasks = len(values)
    inner = np.zeros(2**n_tasks)
    size = np.zeros(2**n_tasks)
    for t in range(n_tasks):
        below = 2**t
        to = np.zeros(below)
        for k in range(t):
            to[2**k : 2 ** (k + 1)] = to[: 2**k] + values[t, k] + values[k, t]
        inner[below : 2 * below], size[below : 2 * below] = inner[:below] + to, size[:below] + 1
    value = inner / np.maximum(size - others, 1)
    best_two = value[: 2 ** (n_tasks - 1)].copy()
    for mask in range(2 ** (n_tasks - 1)):
        part = mask
        while part:
            best_two[mask] = max(best_two[mask], value[part] + value[mask ^ part])
            part = (part - 1) & mask
    # The last task is in one of the groups; the rest is in two at most.
    rest = np.arange(2 ** (n_tasks - 1))
    return float((value[2**n_tasks - 1 - rest] + best_two[rest]).max())


@pytest.mark.parametrize("objective", ["tasks", "groups"])
def test_among_the_groups_of_fourteen_tasks(objective: str) -> None:
    values = off_diagonal_centred(np.random.default_rng(3).normal(size=(14, 14)))
    found = select(values, Conditions(networks=3, objective=objective), centre=False)
    assert found.score * 14 == pytest.approx(best_three(values, int(objective == "tasks")))
    assert found.is_optimal
    assert found.method == "all groups"


def test_what_is_left_out_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    values = gains(12, 1, shift=-0.3)
    for overlap in (False, True):
        conditions = Conditions(networks=4, overlap=overlap, objective="groups")
        exact = select(values, conditions, centre=False)
        assert exact.is_optimal
        with monkeypatch.context() as patch:
            patch.setattr(columns, "MOST_LEFT", 3)
            patch.setattr(columns, "ADDED", 3)
            some = select(values, conditions, centre=False)
        assert some.score <= exact.score + 1e-9
        assert some.bound >= exact.score - 1e-9
        assert np.isfinite(some.gap)


@pytest.mark.parametrize("overlap", [False, True])
def test_thirty_tasks_are_searched_and_bounded(overlap: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(30) % 3)
    values = np.where(labels[:, None] == labels, 1.0, -1.0) + 0.1 * rng.normal(size=(30, 30))
    apart = [(int(np.flatnonzero(labels == 0)[0]), int(np.flatnonzero(labels == 1)[0]))]
    conditions = Conditions(networks=3, max_size=12, overlap=overlap, objective="groups", apart=apart)
    found = select(values, conditions, centre=False)
    assert found.method == "search"
    assert max(map(len, found.groups)) <= 12
    assert not any(set(apart[0]) <= set(group) for group in found.groups)
    assert found.score <= found.bound < 1.1 * found.score
    for group in found.groups:
        assert len(set(labels[list(group)])) == 1


def test_groups_of_three_of_sixty_tasks_are_all_listed() -> None:
    began = time.monotonic()
    found = select(gains(60, 0), Conditions(max_size=3, objective="groups"), centre=False)
    assert found.method == "all groups"
    assert time.monotonic() - began < 60
    assert found.gap < 0.02 * found.score


def grouped(matrices: TaskMatrix | list[TaskMatrix], **budget: object) -> sr.Groups:
    return sr.group(matrices, method="budget", budget={"objective": "groups", **budget})


def matrix(values: np.ndarray, kind: str = "affinity") -> TaskMatrix:
    return TaskMatrix(tuple(f"t{n}" for n in range(len(values))), values, kind)


def test_tasks_that_harm_each_other_are_apart_without_a_limit_on_networks() -> None:
    """By the value that a gain has: locally scaled affinities do not tell harm from a small gain."""
    harm = np.full((4, 4), -0.1)
    assert [len(group) for group in grouped(matrix(harm)).groups] == [1, 1, 1, 1]
    harm[0, 1] = 0.3  # the other direction is -0.1
    assert ["t0", "t1"] in grouped(matrix(harm)).groups
    harm[[2, 3], [3, 2]] = np.nan  # unknown is no gain and no harm
    assert len(grouped(matrix(harm)).groups) == 3


def test_matrices_are_added_by_their_weights_and_no_distance_is_taken() -> None:
    one, two = np.zeros((3, 3)), np.zeros((3, 3))
    one[0, 1], two[1, 2] = 1.0, 0.8
    both = [matrix(one - 0.1), matrix(two - 0.1)]
    budget = {"objective": "groups", "max_size": 2}
    for weights, pair in (([1.0, 1.0], ["t0", "t1"]), ([0.5, 1.0], ["t1", "t2"])):
        assert pair in sr.group(both, method="budget", budget=budget, weights=weights).groups
    with pytest.raises(InputError, match="adds gains, and one of the matrices is a distance"):
        grouped(matrix(one, "distance"))


def test_a_distance_is_refused_before_anything_runs(make_task_set: Callable[..., sr.TaskSet]) -> None:
    index = index_of(make_task_set(n_samples=40), part_rows=40)
    budget = {"method": "budget", "budget": {"objective": "groups"}}
    values = {"data": {"npz": "none"}, "affinity": {"methods": ["label_correlation", "data_map"]}, "grouping": budget}
    with pytest.raises(InputError, match="data_map is a distance"):
        check(load_config(values), index)
    check(load_config({**values, "grouping": {**budget, "weights": {"data_map": 0}}}), index)


def test_a_limit_on_networks_of_a_task_needs_overlap() -> None:
    with pytest.raises(InputError, match="set overlap: true, too"):
        select(gains(3, 0), Conditions(networks_per_task=2))


def test_the_best_choice_of_a_selection_is_a_selection() -> None:
    found = select(gains(5, 0), Conditions(networks=2, overlap=True, objective="groups"), centre=False)
    assert isinstance(found, Selection)
    assert found.evidence.optimal
