"""Groups: planted structure is found, noise is not, and the order of the tasks does not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks, task_graph
from stg_ray.grouping.clusterers.base import fuzzy_membership
from stg_ray.grouping.clusterers.fuzzy import FuzzyCMeans
from stg_ray.grouping.clusterers.kmeans import classical_scaling
from stg_ray.grouping.clusterers.registry import CLUSTERERS
from stg_ray.grouping.graph import as_distance, local_scaling

METHODS = list(CLUSTERERS)
SLOW = {"gat"}
"""A second for a training: fewer examples."""


def blocks(n_tasks: int, n_blocks: int, noise: float, seed: int) -> tuple[TaskMatrix, np.ndarray]:
    """Distances 1 within blocks and 2 between, with noise; tasks in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_tasks) % n_blocks)
    values = np.where(labels[:, None] == labels, 1.0, 2.0) + noise * rng.normal(size=(n_tasks, n_tasks))
    values = np.abs(np.triu(values, 1))
    return TaskMatrix(tuple(f"t{t}" for t in range(n_tasks)), values + values.T, "distance"), labels


@pytest.mark.parametrize(
    ("method", "n_tasks", "n_blocks"),
    [(method, 20, 4) for method in METHODS] + [("spectral", 200, 10), ("agglomerative", 200, 10)],
)
def test_planted_blocks_are_recovered_and_counted(method: str, n_tasks: int, n_blocks: int) -> None:
    matrix, labels = blocks(n_tasks, n_blocks, 0.1, 0)
    given_number = group_tasks(matrix, method=method, n_groups=n_blocks)
    assert adjusted_rand_score(labels, given_number.labels) == 1.0
    chosen = group_tasks(matrix, method=method, n_groups="auto")
    assert adjusted_rand_score(labels, chosen.labels) == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_permuting_the_tasks_permutes_the_groups(method: str) -> None:
    examples = settings(max_examples=3 if method in SLOW else 50)
    examples(given(seed=st.integers(0, 1000))(check_permuted))(method=method)


def check_permuted(method: str, seed: int) -> None:
    matrix, _ = blocks(18, 3, 0.15, seed)
    order = np.random.default_rng(seed).permutation(18)
    names = [matrix.tasks[t] for t in order]
    permuted = TaskMatrix(tuple(names), matrix.values[np.ix_(order, order)], "distance")

    def as_sets(groups: Groups) -> set[frozenset[str]]:
        return {frozenset(members) for members in groups.groups}

    assert as_sets(group_tasks(matrix, method=method, n_groups=3)) == as_sets(
        group_tasks(permuted, method=method, n_groups=3)
    )


@pytest.mark.parametrize("method", METHODS)
def test_hard_cases_do_not_break_a_clusterer(method: str) -> None:
    """Identical tasks, pairs without a value, a task without any, all distances equal."""
    matrix, labels = blocks(12, 3, 0.05, 1)
    names = matrix.tasks
    identical = matrix.values.copy()
    identical[0], identical[:, 0] = identical[1], identical[:, 1]
    identical[0, 1] = identical[1, 0] = identical[0, 0] = 0
    some_missing = matrix.values.copy()
    some_missing[2, 3] = some_missing[3, 2] = np.nan
    lonely = matrix.values.copy()
    lonely[4, :] = lonely[:, 4] = np.nan
    for values in (identical, some_missing, lonely, np.ones((12, 12)) - np.eye(12), np.zeros((12, 12))):
        groups = group_tasks(TaskMatrix(names, values, "distance"), method=method, n_groups=3)
        assert sorted(task for members in groups.groups for task in members) == sorted(names)
        assert np.allclose(np.sum(groups.membership, axis=1), 1)
        asked = groups.asked_for or len(groups.groups)
        assert asked == 3, "fewer groups than asked for are said"
        assert all(task in groups.groups[groups.serving[task]] for task in names)
    found = group_tasks(TaskMatrix(names, some_missing, "distance"), method=method, n_groups=3)
    assert adjusted_rand_score(labels, found.labels) == 1.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_tasks", [2, 3])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_few_tasks_and_large_and_small_units(method: str, n_tasks: int) -> None:
    for unit in (1e-12, -1, 1e12):
        values = unit * np.random.default_rng(0).random((n_tasks, n_tasks))
        for n_groups in (1, n_tasks, "auto"):
            groups = group_tasks(values, method=method, n_groups=n_groups)
            assert np.allclose(np.sum(groups.membership, axis=1), 1, atol=1e-5)
            asked = groups.asked_for or len(groups.groups)
            assert asked == (1 if n_groups == "auto" else n_groups)


@pytest.mark.parametrize("method", METHODS)
def test_components_without_values_between_them_are_the_groups(method: str) -> None:
    matrix, labels = blocks(15, 3, 0.1, 0)
    apart = np.where(labels[:, None] == labels, matrix.values, np.nan)
    groups = group_tasks(TaskMatrix(matrix.tasks, apart, "distance"), method=method, n_groups=3)
    assert adjusted_rand_score(labels, groups.labels) == 1.0


@pytest.mark.parametrize("method", [*METHODS, "budget"])
def test_nothing_that_is_chosen_or_drawn_depends_on_the_order(method: str) -> None:
    examples = settings(max_examples=1 if method in SLOW else 3)
    examples(given(seed=st.integers(0, 1000))(check_that_the_order_is_nothing))(method=method)


def check_that_the_order_is_nothing(method: str, seed: int) -> None:
    """With ties, errors, an automatic number, random starts: the same values give the same answer, to the last bit."""
    matrix, _ = blocks(21, 3, 0.3, seed)
    values = matrix.values.round(1)
    # Two tasks that cannot be told apart may change places.
    assume(len({tuple(sorted(row)) for row in values.tolist()}) == 21)
    errors = 0.2 * values
    order = np.random.default_rng(seed).permutation(21)
    budget = {"networks": 4, "overlap": True} if method == "budget" else None
    found = []
    for rows in (np.arange(21), order):
        permuted = TaskMatrix(tuple(matrix.tasks[t] for t in rows), values[np.ix_(rows, rows)], "distance")
        known = None if method in SLOW else [errors[np.ix_(rows, rows)]]
        found.append(group_tasks(permuted, errors=known, method=method, budget=budget))
    one, other = found
    assert {frozenset(own) for own in one.groups} == {frozenset(own) for own in other.groups}
    assert one.parameters == other.parameters


# The posterior probabilities of a mixture are sharp: between compact groups, a little nearer decides.
@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("mixture", "gat")])
def test_a_task_between_two_groups_belongs_to_both(method: str) -> None:
    matrix, _ = blocks(13, 2, 0.05, 0)
    values = matrix.values.copy()
    values[0, 1:] = values[1:, 0] = 1.5 + 0.02 * np.random.default_rng(0).random(12)
    groups = group_tasks(TaskMatrix(matrix.tasks, values, "distance"), method=method, n_groups=2)
    membership = np.array(groups.membership)
    assert np.allclose(membership.sum(axis=1), 1, atol=1e-5)
    assert membership[0].min() > membership[1:].min(axis=1).max(), "no other task is as much in two groups"
    shared = group_tasks(
        TaskMatrix(matrix.tasks, values, "distance"),
        method=method,
        n_groups=2,
        overlap_above=membership[0].min() - 1e-6,
    )
    assert [("t0" in own) for own in shared.groups] == [True, True]
    assert shared.serving == groups.serving
    assert sum(map(len, shared.groups)) == 14


def test_groups_of_the_same_tasks_are_one() -> None:
    """Their networks would be trained alike, and count, and be served, as several."""
    place = np.array([0, 0, 1, 2, 2])
    alike = 1 - np.abs(np.subtract.outer(place, place)) / 2
    apart = group_tasks(alike, n_groups=2, overlap_above=0.3)
    assert [len(group) for group in apart.groups] == [3, 3], "the task in the middle is in both"
    assert apart.asked_for is None
    whole = group_tasks(alike, n_groups=2, overlap_above=1e-4)
    assert whole.groups == [whole.tasks]
    assert set(whole.serving.values()) == {0}
    assert np.allclose(whole.membership, 1)
    assert whole.asked_for == 2
    assert "overlap_above" in whole.why_one
    three = replace(apart, groups=[["a", "b"], ["c"], ["a", "b"]], tasks=list("abc"), serving={"a": 0, "b": 2, "c": 1})
    three = replace(three, membership=[[0.6, 0.1, 0.3], [0.4, 0.0, 0.6], [0.0, 1.0, 0.0]]).without_copies()
    assert three.groups == [["a", "b"], ["c"]]
    assert three.serving == {"a": 0, "b": 0, "c": 1}
    assert np.allclose(three.membership, [[0.9, 0.1], [1, 0], [0, 1]])


def test_fuzzy_memberships_are_the_formula() -> None:
    distance = np.array([[1.0, 2.0, 3.0], [2.0, 2.0, 0.5]])
    for fuzziness in (1.07, 2.0):
        power = 2 / (fuzziness - 1)
        expected = [[1 / sum((own / d) ** power for d in row) for own in row] for row in distance]
        assert np.allclose(fuzzy_membership(distance**2, fuzziness), expected)


def test_iterated_fuzzy_c_means_stands_still() -> None:
    """The answer solves both of its equations, which that of one step from k-means does not."""
    matrix, _ = blocks(20, 3, 0.3, 0)
    graph = task_graph([matrix])
    u = FuzzyCMeans(3, fuzziness=1.5).fit(graph).membership_
    points = classical_scaling(graph.distance)
    weight = u**1.5
    centroids = weight.T @ points / weight.sum(axis=0)[:, None]
    squared = np.square(points[:, None] - centroids).sum(axis=2)
    assert np.allclose(fuzzy_membership(squared, 1.5), u, atol=1e-4)


def test_edges_go_to_the_nearest_neighbours() -> None:
    matrix, _ = blocks(30, 3, 0.1, 0)
    full, sparse = task_graph([matrix]), task_graph([matrix], neighbours=4)
    assert np.array_equal(full.edges, full.affinity)
    assert np.array_equal(sparse.affinity, full.affinity)
    for task in range(30):
        nearest = np.argsort(-full.affinity[task])[:4]
        assert np.array_equal(sparse.edges[task, nearest], full.affinity[task, nearest])
    assert np.array_equal(sparse.edges, sparse.edges.T)
    assert (sparse.edges > 0).sum(axis=1).min() >= 4
    assert (sparse.edges > 0).sum() < 30 * 8


def test_a_budget_chooses_groups() -> None:
    matrix, labels = blocks(12, 3, 0.1, 0)
    budget = {"networks": 3, "together": [["t0", "t1"]], "apart": []}
    groups = group_tasks(matrix, method="budget", budget={"networks": 3})
    assert adjusted_rand_score(labels, groups.labels) == 1.0
    assert groups.selection is not None
    assert groups.selection.optimal
    groups = group_tasks(matrix, method="budget", budget=budget)
    assert groups.serving["t0"] == groups.serving["t1"]
    with pytest.raises(InputError, match=r"budget.together: unknown task 'tO': did you mean 't"):
        group_tasks(matrix, method="budget", budget={"together": [["tO", "t1"]]})


def test_an_affinity_is_the_distance_the_other_way_round() -> None:
    matrix, _ = blocks(10, 2, 0.1, 0)
    affinity = TaskMatrix(matrix.tasks, 5 - matrix.values, "affinity")
    assert group_tasks(affinity, n_groups=2).groups == group_tasks(matrix, n_groups=2).groups


def test_directed_values_are_symmetrised_and_one_direction_suffices() -> None:
    values = np.array([[0, 1.0, np.nan], [3.0, 0, 2.0], [4.0, np.nan, 0]])
    symmetric = as_distance(TaskMatrix(("a", "b", "c"), values, "distance"))
    assert symmetric.tolist() == [[0, 2, 4], [2, 0, 2], [4, 2, 0]]


def test_local_scaling_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    affinity = local_scaling(distance)
    sigma = [np.sort(np.delete(distance[a], a))[6] for a in range(20)]
    for a in range(20):
        for b in range(20):
            expected = np.exp(-(distance[a, b] ** 2) / (sigma[a] * sigma[b])) if a != b else 0
            assert affinity[a, b] == pytest.approx(expected)


def test_classical_scaling_keeps_euclidean_distances() -> None:
    points = np.random.default_rng(0).normal(size=(12, 40))
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    embedded = classical_scaling(distance)
    assert embedded.shape[1] <= 12
    assert np.allclose(np.linalg.norm(embedded[:, None] - embedded, axis=2), distance)


def test_affinities_complement_each_other() -> None:
    """One matrix tells blocks 0 and 1 apart from the rest, the other 2 and 3: together they tell all."""
    labels = np.arange(24) % 4
    names = tuple(f"t{t}" for t in range(24))

    def matrix(merged: dict[int, int], unit: float) -> TaskMatrix:
        seen = np.vectorize(lambda label: merged.get(label, label))(labels)
        rng = np.random.default_rng(0)
        values = np.where(seen[:, None] == seen, 1.0, 2.0) + 0.02 * np.abs(rng.normal(size=(24, 24)))
        values = np.triu(values, 1)
        return TaskMatrix(names, unit * (values + values.T), "distance")

    both = group_tasks([matrix({3: 2}, 1.0), matrix({1: 0}, 1000.0)], n_groups=4)
    assert adjusted_rand_score(labels, both.labels) == 1.0
    blind = TaskMatrix(names, np.full((24, 24), np.nan), "distance")
    helped = task_graph([matrix({3: 2}, 1.0), blind])
    assert np.allclose(helped.affinity, task_graph([matrix({3: 2}, 1.0)]).affinity), "no value is no opinion"
    weighted = task_graph([matrix({3: 2}, 1.0), matrix({1: 0}, 1000.0)], {0: 1.0, 1: 0.0})
    assert np.allclose(weighted.affinity, task_graph([matrix({3: 2}, 1.0)]).affinity)


def test_wrong_requests_are_refused() -> None:
    matrix, _ = blocks(5, 2, 0.1, 0)
    for options, message in (
        ({"n_groups": 6}, "groups=6 but there are 5 tasks"),
        ({"n_groups": 0}, "groups is 0"),
        ({"method": "spectrul"}, "did you mean 'spectral'"),
    ):
        with pytest.raises(InputError, match=message):
            group_tasks(matrix, **options)
    with pytest.raises(InputError, match="1 task"):
        group_tasks(TaskMatrix(("a",), np.zeros((1, 1)), "distance"))
    with pytest.raises(InputError, match="different tasks"):
        task_graph([matrix, TaskMatrix(("v", "w", "x", "y", "z"), matrix.values, "distance")])
    with pytest.raises(InputError, match="no pair of tasks has a value"):
        group_tasks(TaskMatrix(("a", "b", "c"), np.full((3, 3), np.nan), "distance"), n_groups=2)
    with pytest.raises(InputError, match="infinite"):
        task_graph([TaskMatrix(("a", "b"), np.full((2, 2), np.inf), "distance")])


def test_groups_survive_being_written() -> None:
    matrix, _ = blocks(9, 3, 0.1, 0)
    groups = group_tasks(matrix, n_groups="auto")
    assert Groups.from_dict(groups.to_dict()) == groups
