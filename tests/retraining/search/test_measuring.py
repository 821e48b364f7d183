"""The search within a run: what it costs, where its trainings start, its candidates, and what is refused."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.retraining.search.candidates import candidates_of, mean_affinity
from stg_ray.retraining.search.measuring import settled
from stg_ray.retraining.search.size import Size, check_search
from stg_ray.tasks.conditions import Conditions

CONFIG = load_config("digits", ["retrain.plans=[searched, all_in_one]"])
NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("settings", "ours", "epochs", "expected"),
    [
        ((), 4, 20, (2, 4, 60, 4, 0, 10, 3.0)),
        (("search.finalists=3",), 4, 20, (2, 4, 27, 4, 3, 10, 2.975)),
        (("search.finalists=3",), 1, 20, (2, 2, 12, 4, 3, 10, 2.95)),
        (("search.finalists=1",), 4, 20, (2, 4, 60, 4, 0, 10, 3.0)),
        (("search.finalists=9", "search.cost=8"), 4, 20, (2, 4, 77, 4, 8, 10, 7.975)),
        (("search.groups=3", "search.cost=1", "search.finalists=3"), 4, 10, (3, 3, 15, 2, 0, 5, 1.0)),
        (("search.groups=[1, 5]", "search.cost=1"), 4, 10, (1, 5, 25, 2, 0, 5, 1.0)),
        (("search.length=1", "search.cost=2.5", "search.finalists=3"), 2, 7, (2, 2, 5, 7, 0, 4, 2.5)),
        (("search.length=0.01", "search.finalists=3"), 2, 4, (2, 2, 10, 1, 3, 2, 3.0)),
        (("search.cost=0.1",), 4, 20, (2, 4, 5, 4, 0, 10, 0.25)),
        (("search.candidates=[[[a], [b, c]], [[a, b, c]]]",), 4, 10, (1, 2, 30, 2, 0, 5, 3.0)),
    ],
)
def test_what_a_search_costs(settings: tuple[str, ...], ours: int, epochs: int, expected: tuple[float, ...]) -> None:
    size = Size.of(set_values(CONFIG, settings), ours, epochs, NAMES)
    found = (size.fewest, size.groups, size.networks, size.epochs, size.finalists, size.final_epochs)
    assert found == expected[:-1]
    assert size.cost == pytest.approx(expected[-1])


@pytest.mark.parametrize(
    ("settings", "outlook", "start", "length"),
    [
        ((), None, "profiled", 0.2),
        (("search.start=auto",), "none", "profiled", 0.2),
        (("search.start=auto",), "open", "profiled", 0.2),
        (("search.start=auto",), "gain", "scratch", 0.5),
        (("search.start=auto", "search.length=0.6"), "gain", "scratch", 0.6),
        (("search.start=scratch",), "none", "scratch", 0.2),
        (("search.start=profiled",), "gain", "profiled", 0.2),
        ((), "gain", "scratch", 0.5),
        (("search.start=auto", "retrain.start=profiled"), "gain", "profiled", 0.2),
        (("search.start=auto", "retrain.start=both"), "gain", "scratch", 0.5),
    ],
)
def test_short_trainings_start_where_they_tell_the_most(
    settings: tuple[str, ...], outlook: str | None, start: str, length: float
) -> None:
    """The forecast compares networks from scratch, unless plans have none."""
    search = settled(set_values(CONFIG, settings), outlook and {"outlook": outlook}).search
    assert (search.start, search.length) == (start, length)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"groups": [2, 5]}, r"search.groups=\(2, 5\) but there are 4 tasks"),
        ({"groups": 5}, r"search.groups=5 but there are 4 tasks"),
        ({"candidates": [[["a", "b"], ["c"]]]}, r"candidate 0 lacks 'd': expected every task in one group"),
        ({"candidates": [[["a", "b"], ["c", "d", "x"]]]}, r"candidate 0 names 'x'"),
        ({"cost": 1e6}, r"allow 20,000,000 networks: expected at most 20,000"),
    ],
)
def test_a_search_that_these_tasks_do_not_have_is_refused(search: dict[str, Any], message: str) -> None:
    config = load_config({"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}, "search": search})
    with pytest.raises(InputError, match=message):
        check_search(config, NAMES)
    check_search(set_values(config, ["retrain.plans=[all_in_one]"]), NAMES)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"candidates": [[["a", "b"], ["b"]]]}, "candidate 0 has 'b' more than once"),
        ({"candidates": [[["a", "b"], []]]}, "candidate 0 has an empty group"),
        ({"candidates": [[["a"], ["b"]]], "groups": 3}, "candidate 0 has 2 groups, and search.groups allows 3"),
        ({"candidates": [[["a", "b"]]], "groups": [2, 3]}, "candidate 0 has 1 groups, and search.groups allows 2 to 3"),
        ({"groups": [3, 2]}, r"the fewest groups come first: expected \[2, 3\]"),
    ],
)
def test_candidates_that_are_no_groupings_are_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config({"data": {"preset": "digits"}, "search": search})


@pytest.mark.parametrize(
    ("budget", "search", "message"),
    [
        ({"networks": 2}, {"groups": 3}, "a search for 3 groups, and grouping.budget allows 1 to 2"),
        ({"max_size": 2}, {"candidates": [[["a", "b", "c"], ["d"]]]}, "a network of 3 tasks, and 1 to 2 are allowed"),
        ({"apart": [["a", "b"]]}, {"candidates": [[["a", "b"], ["c", "d"]]]}, "'a' and 'b' must be apart"),
        ({"apart": [["a", "b"]]}, {"candidates": [[["a", "c"], ["b", "d"]]]}, None),
        ({"apart": [["a", "x"]]}, {}, "unknown task 'x'"),
        ({"networks": 1}, {}, "a search for 2 groups, and grouping.budget allows 1: give"),
        ({"min_size": 3}, {}, "grouping.budget allows 1: give"),
        ({"apart": [["a", "b", "c"]]}, {"groups": 2}, "a search for 2 groups, and grouping.budget allows 3 to 4"),
        ({"apart": [["a", "b", "c"]]}, {}, None),
        ({"networks": 2}, {"candidates": [[["a"], ["b"], ["c", "d"]]]}, "3 networks, and 2 are allowed"),
    ],
)
def test_a_search_keeps_to_the_budget_or_is_refused(
    budget: dict[str, Any], search: dict[str, Any], message: str | None
) -> None:
    values = {"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}, "search": search}
    config = load_config({**values, "grouping": {"groups": "auto", "method": "budget", "budget": budget}})
    with nullcontext() if message is None else pytest.raises(InputError, match=message):
        check_search(config, NAMES)


def test_candidates_are_the_users_then_ours_then_those_of_each_affinity() -> None:
    names = tuple("abcdef")
    blocks = [np.repeat([0, 1], 3), np.arange(6) % 2]
    matrices = [TaskMatrix(names, (block[:, None] == block).astype(float), "affinity") for block in blocks]
    ours = Groups.from_labels(names, np.array([0, 0, 1, 1, 1, 1]), "by hand")
    config = set_values(CONFIG, ["search.candidates=[[[a], [b, c, d, e, f]]]"])
    found = candidates_of(config, ours, matrices, Size(2, 2, 60, 1, 0, 1, 1), group_tasks)
    expected = [[0, 1, 1, 1, 1, 1], ours.labels.tolist(), *(block.tolist() for block in blocks)]
    assert [labels.tolist() for labels in found[:2]] == expected[:2]
    assert all(labels in [each.tolist() for each in found] for labels in expected[2:]), "each affinity's own"
    assert len({labels.tobytes() for labels in found}) == len(found)
    assert len(candidates_of(config, ours, matrices, Size(2, 2, 12, 1, 0, 1, 1), group_tasks)) == 2, "a third of twelve"


@pytest.mark.parametrize(
    "budget",
    [
        {"apart": [["a", "b", "c"]], "networks": 3},
        {"max_size": 2, "together": [["a", "b"]]},
        {"objective": "groups", "networks": 3},
        {"apart": [["a", "b"]], "overlap": True, "networks_per_task": 2},
    ],
)
def test_candidates_keep_a_budget_and_what_cannot_is_left_out(budget: dict[str, Any]) -> None:
    values = {"data": {"preset": "digits"}, "retrain": {"plans": ["searched"]}}
    config = load_config({**values, "grouping": {"groups": "auto", "method": "budget", "budget": budget}})
    conditions, rng = Conditions.of(budget, NAMES), np.random.default_rng(0)
    size = Size(2, 4, 60, 1, 0, 1, 1)
    matrices = [
        TaskMatrix(tuple(NAMES), rng.normal(size=(4, 4)), "affinity"),
        TaskMatrix(tuple(NAMES), rng.random((4, 4)), "distance"),
    ]
    ours = Groups.from_labels(tuple(NAMES), np.array([0, 1, 2, 2]), "budget")
    found = candidates_of(config, ours, matrices, size, group_tasks)
    assert found
    assert all(conditions.broken_by(np.arange(4)[:, None][: labels.max() + 1] == labels) == "" for labels in found)


def test_of_directed_affinities_a_search_knows_the_mean_of_both_directions() -> None:
    values = np.random.default_rng(0).normal(size=(4, 4))
    values[0, 1] = np.nan
    one, other = (TaskMatrix(tuple("abcd"), own, "affinity") for own in (values, values.T))
    found = mean_affinity([one])
    np.testing.assert_array_equal(found, mean_affinity([other]))
    np.testing.assert_array_equal(found, found.T)
    both = (values + values.T) / 2
    both[0, 1] = both[1, 0] = values[1, 0]
    pairs = both[~np.eye(4, dtype=bool)]
    np.testing.assert_allclose(found[2, 3], (both[2, 3] - pairs.mean()) / pairs.std())
    np.testing.assert_allclose(found[0, 1], (values[1, 0] - pairs.mean()) / pairs.std())


def test_candidates_have_every_number_of_groups_and_come_from_resampled_affinities_last() -> None:
    rng, blocks = np.random.default_rng(0), np.arange(12) // 3
    names = tuple("abcdefghijkl")

    def noisy() -> TaskMatrix:
        noise = rng.normal(scale=0.8, size=(12, 12))
        return TaskMatrix(names, (blocks[:, None] == blocks) + noise + noise.T, "affinity")

    ours = Groups.from_labels(names, blocks, "by hand")
    found = candidates_of(CONFIG, ours, [noisy()], Size(2, 4, 300, 1, 0, 1, 1), group_tasks)
    assert {int(labels.max()) + 1 for labels in found} == {2, 3, 4}
    more = candidates_of(CONFIG, ours, [noisy()], Size(4, 4, 300, 1, 0, 1, 1), group_tasks, [noisy() for _ in range(3)])
    assert len(more) >= 4, "three of resampled affinities"
    assert {int(labels.max()) + 1 for labels in more} == {4}
