"""The search finds planted groups with few measurements, keeps its budget, and goes on where it was."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

import stg_ray as sr
from stg_ray.grouping import select
from stg_ray.retraining.search.partitions import Partitions, canonical, key_of, members_of
from stg_ray.retraining.search.proposals import Prospects, propose
from stg_ray.retraining.search.surrogate import GroupSurrogate
from stg_ray.tasks.conditions import Conditions


def scores_of(group: np.ndarray, planted: np.ndarray, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Each task gains 0.1 from each other of its planted group, and loses as much from each other task."""
    effect = np.where(planted[:, None] == planted, 0.1, -0.1)
    np.fill_diagonal(effect, 0)
    return np.where(group, effect @ group + noise * rng.normal(size=len(group)), np.nan)


def searched(
    planted: np.ndarray, budget: int, seed: int = 0, noise: float = 0.05, n_groups: tuple[int, int] | None = None
) -> tuple[np.ndarray, int]:
    rng = np.random.default_rng(seed)
    search = sr.GroupSearch(len(planted), n_groups or int(planted.max()) + 1, budget, seed=seed)
    n = 0
    while groups := search.ask():
        for group in groups:
            search.tell(group, scores_of(group, planted, rng, noise))
            n += 1
    return search.best(), n


def test_planted_groups_are_found_by_a_fraction_of_all_groups() -> None:
    planted = canonical(np.repeat([0, 1, 2], [4, 3, 2]))
    found = [searched(planted, budget=40, seed=seed) for seed in range(3)]
    assert sum((labels == planted).all() for labels, _ in found) >= 2, "40 of 511 groups"
    assert all(n <= 40 for _, n in found)


def test_the_number_of_groups_is_found_too() -> None:
    planted = canonical(np.repeat([0, 1, 2], [4, 3, 2]))
    found = [searched(planted, budget=60, seed=seed, n_groups=(2, 5))[0] for seed in range(3)]
    assert sum((labels == planted).all() for labels in found) >= 2


def test_prospects_of_partitions_are_those_of_each_whatever_their_numbers_of_groups() -> None:
    rng = np.random.default_rng(0)
    groups = rng.random((9, 6)) < 0.5
    groups[:, 0] |= ~groups.any(axis=1)
    prospects = Prospects(GroupSurrogate(groups, np.where(groups, rng.normal(size=(9, 6)), np.nan)), {})
    partitions = [canonical(rng.integers(n, size=6)) for n in (1, 4, 2, 6, 3)]
    alone = [float(prospects.of_partitions([labels])[0]) for labels in partitions]
    assert prospects.of_partitions(partitions).tolist() == pytest.approx(alone)


def test_a_candidate_is_measured_first() -> None:
    labels = np.array([0, 1, 0, 1])
    search = sr.GroupSearch(4, 2, budget=3, candidates=[labels])
    (everything,) = search.ask()
    assert everything.all()
    search.tell(everything, np.zeros(4))
    assert [group.tolist() for group in search.ask()] == members_of(labels).tolist()


def test_it_asks_only_when_it_was_told() -> None:
    search = sr.GroupSearch(4, 2, budget=9)
    search.ask()
    with pytest.raises(RuntimeError, match="tell the scores"):
        search.ask()


def test_any_measured_groups_may_make_the_best_partition() -> None:
    """Not only those that were proposed together."""
    proposed = [np.array([0, 0, 1, 2]), np.array([0, 1, 2, 2])]
    search = sr.GroupSearch(4, (2, 3), budget=7, candidates=proposed)
    while groups := search.ask():
        for group in groups:
            search.tell(group, np.where(group, float(group.sum() == 2), np.nan))
    assert search.best().tolist() == [0, 0, 1, 1]


def test_without_a_whole_partition_there_is_no_best() -> None:
    search = sr.GroupSearch(4, 2, budget=1)
    search.tell(search.ask()[0], np.zeros(4))
    assert search.ask() == []
    with pytest.raises(RuntimeError, match="no partition"):
        search.best()


def test_before_anything_is_told_there_is_no_best() -> None:
    search = sr.GroupSearch(4, 2, budget=9)
    for question in (search.best, search.surrogate, lambda: search.finalists(2)):
        with pytest.raises(RuntimeError, match="measured"):
            question()


@pytest.mark.parametrize(
    ("group", "scores", "message"),
    [
        ([True] * 4, [0.0] * 3, r"scores of the shape \(3,\): expected a boolean and a score for each of 4 tasks"),
        ([True] * 3, [0.0] * 4, r"a group of the shape \(3,\)"),
        ([0, 1, 2, 3], [0.0] * 4, "int64"),
        ([True, True, False, False], [0.0, 0.0, np.nan, np.nan], r"tasks \[0, 1\] is not waited for"),
        ([True] * 4, [0.0, 0.0, np.inf, 0.0], "scores are infinite"),
    ],
)
def test_what_cannot_be_told_is_refused(group: list[Any], scores: list[float], message: str) -> None:
    """And leaves the search as it was."""
    search = sr.GroupSearch(4, 2, budget=9)
    (everything,) = search.ask()
    with pytest.raises(sr.InputError, match=message):
        search.tell(np.array(group), np.array(scores))
    search.tell(everything, np.zeros(4))
    with pytest.raises(sr.InputError, match="is not waited for: give"):
        search.tell(everything, np.zeros(4))
    group_of_some = search.ask()[0]
    with pytest.raises(sr.InputError, match="outside of the group"):
        search.tell(group_of_some, np.zeros(4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"affinity": np.eye(3)}, r"the affinity has the shape \(3, 3\): expected \(4, 4\)"),
        ({"budget": 0}, "budget=0: expected the number of groups to measure at most, 1 or more"),
        ({"budget": 2.5}, r"budget=2\.5"),
        ({"n_groups": 2.5}, r"n_groups=2\.5: expected a whole number, or the fewest and the most"),
        ({"n_groups": (1, 2, 3)}, r"n_groups=\(1, 2, 3\): expected a whole number"),
        ({"conditions": {"max_sise": 2}}, "did you mean 'max_size'"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(sr.InputError, match=message):
        sr.GroupSearch(**{"n_tasks": 4, "n_groups": 2, "budget": 9, **wrong})


def test_equal_seeds_ask_for_equal_groups() -> None:
    """So that a search whose measurements were kept goes on as it would have."""
    planted = canonical(np.repeat([0, 1], 4))
    assert searched(planted, 20, seed=3)[0].tolist() == searched(planted, 20, seed=3)[0].tolist()


def test_proposals_are_partitions_that_no_single_move_improves() -> None:
    rng = np.random.default_rng(0)
    planted = np.repeat([0, 1, 2], 4)
    groups = rng.random((30, 12)) < 0.4
    groups[:, 0] |= ~groups.any(axis=1)
    scores = np.array([scores_of(group, planted, rng, 0.05) for group in groups])
    sums = {key_of(group): float(np.nansum(row)) for group, row in zip(groups, scores, strict=True)}
    prospects = Prospects(GroupSurrogate(groups, scores), sums)
    partitions = Partitions(12, 3, 3, Conditions())
    proposals = propose(prospects, partitions, [rng.permutation(planted) for _ in range(5)])
    values = prospects.of_partitions(proposals).tolist()
    assert values == sorted(values, reverse=True)
    for labels, value in zip(proposals, values, strict=True):
        assert labels.max() == 2
        assert prospects.of_partitions(partitions.neighbours(labels)).max() <= value + 1e-9


@pytest.mark.parametrize(
    ("n_groups", "candidates", "message"),
    [
        (5, [], "n_groups=5 of 4 tasks: expected 1 to 4"),
        (0, [], "n_groups=0 of 4 tasks"),
        (2, [np.zeros(4, dtype=int)], r"has the shape \(4,\) and 1 groups: expected a label for each of 4 tasks, 2"),
        (2, [np.array([0, 1, 0])], r"has the shape \(3,\)"),
        ((3, 2), [], r"n_groups=\(3, 2\) of 4 tasks"),
        ((2, 3), [np.arange(4)], "expected a label for each of 4 tasks, 2 to 3 different ones"),
    ],
)
def test_what_cannot_be_searched_is_said(
    n_groups: int | tuple[int, int], candidates: list[np.ndarray], message: str
) -> None:
    with pytest.raises(sr.InputError, match=message):
        sr.GroupSearch(4, n_groups, budget=9, candidates=candidates)


@settings(max_examples=25)
@given(data=st.data())
def test_all_that_is_asked_under_conditions_keeps_them(data: st.DataObject) -> None:
    n_tasks = data.draw(st.integers(4, 6))
    tasks = st.lists(st.integers(0, n_tasks - 1), min_size=2, max_size=3, unique=True)
    given_conditions = {
        "min_size": data.draw(st.integers(1, 2)),
        "max_size": data.draw(st.one_of(st.none(), st.integers(3, n_tasks))),
        "together": data.draw(st.lists(tasks, max_size=1)),
        "apart": data.draw(st.lists(tasks, max_size=2)),
        "networks": data.draw(st.one_of(st.none(), st.integers(2, n_tasks))),
    }
    conditions = Conditions(**given_conditions)
    try:
        fewest, most = conditions.numbers(n_tasks)
    except sr.InputError:  # they contradict each other
        return
    possible = [labels for labels in partitions_of(n_tasks) if not conditions.broken_by(members_of(labels))]
    assert all(fewest <= labels.max() + 1 <= most for labels in possible)
    try:
        search = sr.GroupSearch(n_tasks, (fewest, most), 30, seed=1, conditions=given_conditions)
    except sr.InputError:
        assert not possible
        return
    rng, planted = np.random.default_rng(0), np.arange(n_tasks) % 2
    is_first = True
    while groups := search.ask():
        for group in groups:
            assert is_first or conditions.allows(group), "the first is of all tasks, with which all are compared"
            is_first = False
            search.tell(group, scores_of(group, planted, rng, 0.05))
    assert conditions.broken_by(members_of(search.best())) == ""


@pytest.mark.parametrize(
    "conditions", [{"max_size": 4}, {"min_size": 4}, {"max_size": 4, "together": [[0, 1]]}, {"apart": [[0, 4, 8]]}]
)
def test_planted_groups_are_found_where_sizes_leave_no_room_for_a_move(conditions: dict[str, Any]) -> None:
    planted, scores = np.repeat([0, 1, 2], 4), []
    for seed in range(2):
        search, rng = sr.GroupSearch(12, 3, budget=60, seed=seed, conditions=conditions), np.random.default_rng(seed)
        while groups := search.ask():
            for group in groups:
                search.tell(group, scores_of(group, planted, rng, 0.02))
        scores.append(adjusted_rand_score(planted, search.best()))
    assert np.mean(scores) > 0.9


def test_without_a_partition_to_begin_with_a_search_is_refused() -> None:
    conditions = {"min_size": 2, "together": [[0, 1, 2, 3, 4]]}
    with pytest.raises(sr.InputError, match="no partition into 2 groups was found that keeps the conditions"):
        sr.GroupSearch(6, 2, budget=9, conditions=conditions)


def test_the_best_under_conditions_is_that_of_all_that_keep_them() -> None:
    planted = np.repeat([0, 1, 2], 4)
    conditions = {"max_size": 4, "together": [[0, 4]], "apart": [[1, 2]], "networks": 4}
    search = sr.GroupSearch(12, (3, 4), 100, seed=0, conditions=conditions)
    rng = np.random.default_rng(0)
    while groups := search.ask():
        for group in groups:
            search.tell(group, scores_of(group, planted, rng, 0.0))
    found = members_of(search.best())
    assert Conditions(**conditions).broken_by(found) == ""
    best = select(np.where(planted[:, None] == planted, 0.1, -0.1), Conditions(**conditions, objective="tasks"))
    value = sum(float(np.nansum(scores_of(group, planted, rng, 0.0))) for group in found)
    members = np.array([np.isin(np.arange(12), group) for group in best.groups])
    assert value >= sum(float(np.nansum(scores_of(group, planted, rng, 0.0))) for group in members) - 1e-9


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"max_size": 1}, "the budget allows 4 to 4 groups: expected as many, not 2 to 2"),
        ({"networks": 1}, "the budget allows 1 to 1 groups"),
        ({"apart": [[0, 1]]}, "a candidate breaks the conditions: 0 and 1 must be apart"),
        ({"together": [[2, 3]]}, "a candidate breaks the conditions: 2 and 3 must be together"),
        ({"min_size": 2}, "a candidate breaks the conditions: a network of 1 tasks, and 2 to 4 are allowed"),
        ({"apart": [[0, 1, 3]]}, "the budget allows 3 to 4 groups"),
        ({"cost": 2.5}, None),
        ({"cost": 2.5, "task_cost": 0.2}, "the budget allows 1 to 1 groups"),
    ],
)
def test_conditions_that_a_search_cannot_keep_are_refused(conditions: dict[str, Any], message: str | None) -> None:
    candidates = [np.array([0, 0, 0, 1])]
    with nullcontext() if message is None else pytest.raises(sr.InputError, match=message):
        sr.GroupSearch(4, 2, budget=9, candidates=candidates, conditions=conditions)


def partitions_of(n_tasks: int) -> list[np.ndarray]:
    """All partitions of a few tasks."""
    found = {tuple(canonical(np.array(labels))) for labels in itertools.product(range(n_tasks), repeat=n_tasks)}
    return [np.array(labels) for labels in found]


@pytest.mark.parametrize("n_groups", [2, (1, 3)])
def test_finalists_are_the_best_and_those_of_which_most_is_expected(n_groups: int | tuple[int, int]) -> None:
    """Against all partitions into measured groups, one by one."""
    planted, rng = canonical(np.array([0, 0, 1, 1, 2])), np.random.default_rng(3)
    search, measured = sr.GroupSearch(5, n_groups, budget=18, seed=1), {}
    while groups := search.ask():
        for group in groups:
            scores = scores_of(group, planted, rng, noise=0.3)
            measured[key_of(group)] = np.nansum(scores)
            search.tell(group, scores)
    fewest, most = (n_groups, n_groups) if isinstance(n_groups, int) else n_groups
    possible = [
        labels
        for labels in partitions_of(5)
        if fewest <= labels.max() + 1 <= most and all(key_of(group) in measured for group in members_of(labels))
    ]
    found = search.finalists(4)
    assert len({labels.tobytes() for labels in found}) == len(found) == min(4, len(possible))
    best = max(possible, key=lambda labels: sum(measured[key_of(group)] for group in members_of(labels)))
    assert found[0].tolist() == best.tolist() == search.best().tolist()
    surrogate = search.surrogate()
    others = [labels for labels in possible if labels.tolist() != best.tolist()]
    others.sort(key=lambda labels: -surrogate.predict(members_of(labels))[0].sum())
    assert [labels.tolist() for labels in found[1:]] == [labels.tolist() for labels in others[: len(found) - 1]]
    given = search.finalists(3, [others[-1], best, np.arange(5)])
    assert given[1].tolist() == others[-1].tolist(), "what is given comes second, if it was measured and is possible"
    assert given[2].tolist() == others[0].tolist()
    assert len(search.finalists(99)) == len(possible)
    assert [labels.tolist() for labels in search.finalists(0)] == [best.tolist()]
