"""The search finds planted groups with few measurements, keeps its budget, and goes on where it was."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.retraining.search.proposals import Prospects, canonical, key_of, members_of, neighbours, propose
from stg_ray.retraining.search.surrogate import GroupSurrogate


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
    search = sr.GroupSearch(4, 2, budget=9)
    for members, value in (([0, 1], 3), ([2, 3], 0), ([0, 2], 0), ([1, 3], 2), ([2], 4), ([0, 1, 3], 2)):
        group = np.isin(np.arange(4), members)
        search.tell(group, np.where(group, value / len(members), np.nan))
    assert search.best().tolist() == [0, 0, 1, 0]


def test_without_a_whole_partition_there_is_no_best() -> None:
    search = sr.GroupSearch(4, 2, budget=1)
    search.tell(search.ask()[0], np.zeros(4))
    assert search.ask() == []
    with pytest.raises(RuntimeError, match="no partition"):
        search.best()


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
    proposals = propose(prospects, [rng.permutation(planted) for _ in range(5)])
    values = prospects.of_partitions(proposals).tolist()
    assert values == sorted(values, reverse=True)
    for labels, value in zip(proposals, values, strict=True):
        assert labels.max() == 2
        assert prospects.of_partitions(neighbours(labels)).max() <= value + 1e-9


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
