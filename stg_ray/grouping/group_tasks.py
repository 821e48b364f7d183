"""Grouping of tasks by their affinities: `sr.group`, without a run and without a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from stg_ray.artifacts.evidence import DECIMALS
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.config.grouping import GroupingConfig
from stg_ray.errors import InputError
from stg_ray.grouping.arguments import arrays_of, check_n_groups, one_each, settings_of, weights_of
from stg_ray.grouping.certainty import certainty
from stg_ray.grouping.clusterers.base import Clusterer, Clustering
from stg_ray.grouping.clusterers.points import PointClusters
from stg_ray.grouping.clusterers.registry import check_method, clusterer_of, name_of
from stg_ray.grouping.graph import TaskGraph, default_neighbours, task_graph
from stg_ray.grouping.inputs import MatrixLike, as_matrix, as_points, each_source, in_order_of, points_of
from stg_ray.grouping.n_groups import Criterion, choose_n_groups
from stg_ray.grouping.resamples import resampled_graphs, resampled_points
from stg_ray.grouping.selection import Conditions, select
from stg_ray.grouping.threads import one_thread_each

CERTAINTY_DECIMALS = 4


@one_thread_each
def group_tasks(  # noqa: PLR0913 - one call for newcomers: every setting of the `grouping` section is a keyword
    affinity: MatrixLike | Sequence[MatrixLike],
    *,
    names: Sequence[str] | None = None,
    kind: Kind | None = None,
    errors: Sequence[np.ndarray | None] | None = None,
    resamples: Sequence[np.ndarray | None] | None = None,
    weights: Sequence[float] | None = None,
    method: str | type[Clusterer[TaskGraph]] = "spectral",
    n_groups: int | Literal["auto"] = "auto",
    min_groups: int = 1,
    max_groups: int | None = None,
    criterion: Criterion = "silhouette",
    neighbours: int | Literal["auto", "all"] = "auto",
    overlap_above: float | None = None,
    budget: Mapping[str, Any] | Conditions | None = None,
    seed: int = 0,
    affinities: Sequence[str] | None = None,
) -> Groups:
    """Group tasks by one or several K x K affinities or distances. The order of the tasks does not matter.

    Args:
        affinity: of the same K tasks: a TaskMatrix, an array, a data frame, a path to Parquet or CSV, or a data map; or
            several.
        names: of the tasks of an array or a DataMapState.
        kind: of arrays, data frames and CSV: affinity (large means alike) or distance; see `inputs.as_matrix`.
        errors: standard errors (K, K) of each matrix; with them the result has each task's certainty.
        resamples: (B, K, K) values of each matrix from resampled samples; they are preferred to its errors.
        weights: weight of each matrix in the sum of locally scaled affinities, 0 or more.
        method: a clusterer (spectral, louvain, agglomerative, kmeans, fuzzy_c_means, mixture, gat, sdp), points,
            which clusters the points of a data map, or budget; or one of your own: `module:Class`, or the class.
        n_groups: a number from 1 to K, or auto: chosen from `min_groups` to `max_groups` by `criterion`.
        min_groups: fewest groups that auto may choose; from 2 on, structure is not asked for.
        max_groups: most groups that auto may choose (see `n_groups.most_groups`).
        criterion: silhouette, eigengap, bic or stability, by which auto chooses.
        neighbours: edges of each task in the graph: a number, all, or auto (see `graph.default_neighbours`).
        overlap_above: a task is also put into groups that do not serve it, where its membership is this or more.
        budget: of the method budget: `Conditions`, or a mapping with their names, with task names in together and
            apart.
        seed: of random starts and resamples.
        affinities: names of the matrices, kept in the result.

    Raises:
        InputError: an unknown method or one whose package is missing, a value that the setting of its name in the
            section `grouping` does not take, fewer than 2 tasks, more groups than tasks, a budget that cannot be kept,
            sources that are not square matrices of the same tasks, not one weight (or errors, resamples, name) for
            each of them, or points of tasks that have none.

    Example:
        >>> import numpy as np
        >>> alike = np.array([[1.0, 0.9, 0.1, 0.2], [0.9, 1.0, 0.2, 0.1], [0.1, 0.2, 1.0, 0.8], [0.2, 0.1, 0.8, 1.0]])
        >>> names = ["cat", "dog", "car", "bus"]
        >>> group_tasks(alike, names=names, n_groups=2).groups
        [['cat', 'dog'], ['car', 'bus']]
        >>> group_tasks(alike, names=names, method="budget", budget={"networks": 2, "apart": [["cat", "car"]]})
        Groups(4 tasks in 2 groups of 2, 2; budget)
    """
    asked = settings_of(
        seed,
        method=method if isinstance(method, str) else "spectral",  # a class goes with the same settings
        groups=n_groups,
        min_groups=min_groups,
        max_groups=max_groups,
        criterion=criterion,
        neighbours=neighbours,
        overlap_above=overlap_above,
        budget={} if method == "budget" and budget is None else budget,
    )
    sources: list[Any] = [as_points(source, names) or source for source in each_source(affinity)]
    matrices = _matrices(sources, names, kind)
    tasks = matrices[0].tasks
    check_method(method, len(tasks))
    check_n_groups(asked, len(tasks))
    if method == "auxiliary":
        raise InputError("grouping.method=auxiliary is by trainings, in a run: choose another method, or sr.auxiliary")
    n, k = len(matrices), len(tasks)
    weights, affinities = weights_of(weights, n), one_each(affinities, "affinities", n)
    errors, resamples = arrays_of(errors, "errors", n, (k, k)), arrays_of(resamples, "resamples", n, (None, k, k))
    weight_of = None if affinities is None else dict(zip(affinities, weights or [1.0] * n, strict=True))
    problem = _prepare(matrices, weights, asked.neighbours)
    if method == "budget":
        groups = _select(problem, budget or {}, seed)
    else:
        clustering = _clustering(problem, method, sources, errors, resamples, seed)
        groups = _clustered(problem, clustering, name_of(method), asked, seed)
    return replace(groups, seed=seed, affinities=weight_of)


@dataclass(frozen=True)
class _Problem:
    """Tasks to be grouped, in an order that follows from their values alone.

    With random starts and ties the order of the tasks would decide. So everything below `tasks` has its rows in the
    order `order`, and `back` leads from there to the tasks as they were given.
    """

    tasks: tuple[str, ...]
    order: np.ndarray
    matrices: list[TaskMatrix]
    weights: Mapping[int, float] | None
    neighbours: int | None
    graph: TaskGraph

    @property
    def back(self) -> np.ndarray:
        """(K,) row of each task."""
        return np.argsort(self.order)

    def graph_of(self, matrices: Sequence[TaskMatrix]) -> TaskGraph:
        """Return the graph of other values of the same matrices."""
        return task_graph(matrices, self.weights, self.neighbours)

    def of_what_counts(self, arrays: Sequence[np.ndarray | None] | None) -> list[np.ndarray | None] | None:
        """Return arrays of the matrices, None for those without weight: the graph does not depend on them."""
        if arrays is None:
            return None
        return [array if self.weights is None or self.weights[i] > 0 else None for i, array in enumerate(arrays)]

    def graphs_alone(self) -> Iterator[TaskGraph]:
        """Yield the graph of each matrix that counts and has a value, where there are several."""
        off_diagonal = ~np.eye(len(self.tasks), dtype=bool)
        for i, matrix in enumerate(self.matrices if len(self.matrices) > 1 else []):
            if (self.weights is None or self.weights[i] > 0) and np.isfinite(matrix.values[off_diagonal]).any():
                yield task_graph([matrix], None, self.neighbours)


def _matrices(sources: Sequence[Any], names: Sequence[str] | None, kind: Kind | None) -> list[TaskMatrix]:
    """Return the matrices of all sources, with the tasks in the order of the first."""
    matrices = [as_matrix(source, names=names, kind=kind) for source in sources]
    return [in_order_of(matrix, matrices[0].tasks, f"affinity {i}") for i, matrix in enumerate(matrices)]


def _prepare(
    matrices: Sequence[TaskMatrix], weights: Sequence[float] | None, neighbours: int | Literal["auto", "all"]
) -> _Problem:
    """Put the tasks in an order that follows from their values (sorted rows, then columns), and make their graph."""
    tasks = matrices[0].tasks
    order = _order(matrices)
    ordered = [in_order_of(matrix, [tasks[t] for t in order], "the affinity") for matrix in matrices]
    edges = default_neighbours(len(tasks)) if neighbours == "auto" else None if neighbours == "all" else neighbours
    by_position = None if weights is None else dict(enumerate(weights))
    return _Problem(tasks, order, ordered, by_position, edges, task_graph(ordered, by_position, edges))


def _order(matrices: Sequence[TaskMatrix]) -> np.ndarray:
    """Return the order (K,) of the tasks by the values of their rows, then columns, each from its least on."""
    values = matrices[0].values
    n = min(8, len(values))
    least = np.sort(np.partition(values, n - 1, axis=1)[:, :n], axis=1)
    order = np.lexsort(least.T[::-1])
    differ = (least[order[1:]] != least[order[:-1]]).any(axis=1)
    if differ.all() and not np.isnan(least).any():
        return order  # the others would not change it
    keys = [np.sort(side, axis=1) for matrix in matrices for side in (matrix.values, matrix.values.T)]
    return np.lexsort(np.concatenate(keys, axis=1).T[::-1])


def _select(problem: _Problem, budget: Mapping[str, Any] | Conditions, seed: int) -> Groups:
    """Select groups under a budget."""
    conditions = Conditions.of(Conditions.of(budget, problem.tasks), problem.matrices[0].tasks)
    if conditions.objective == "groups":
        selection = select(_gains(problem), conditions, centre=False, seed=seed)
    else:
        selection = select(problem.graph.affinity, conditions, seed=seed)
    members = np.array([np.isin(np.arange(len(problem.tasks)), group) for group in selection.groups])
    back = problem.back
    groups = Groups.from_labels(problem.tasks, selection.serving[back], "budget", members=members[:, back])
    return replace(groups, selection=selection.evidence)


def _gains(problem: _Problem) -> np.ndarray:
    """Return the weighted sum (K, K) of affinities as they are, the mean of both directions, 0 where unknown.

    Raises:
        InputError: one of them is a distance.
    """
    total = np.zeros((len(problem.tasks), len(problem.tasks)))
    for i, matrix in enumerate(problem.matrices):
        weight = 1.0 if problem.weights is None else problem.weights[i]
        if weight > 0 and matrix.kind == "distance":
            raise InputError(
                "grouping.budget.objective=groups adds gains, and one of the matrices is a distance: use affinities, "
                "such as transfer_gain"
            )
        both = np.stack([matrix.values, matrix.values.T])
        known = ~np.isnan(both)
        total += weight * np.where(known, both, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return total


def _clustering(
    problem: _Problem,
    method: str | type[Clusterer[TaskGraph]],
    sources: Sequence[Any],
    errors: Sequence[np.ndarray | None] | None,
    resamples: Sequence[np.ndarray | None] | None,
    seed: int,
) -> Clustering[Any]:
    """Return the clusterer of a method with its data: the points of a data map, or the task graph."""
    if method == "points":
        histogram = points_of(sources, problem.matrices[0].tasks)
        return Clustering(PointClusters(seed=seed), histogram, resampled_points(histogram, seed=seed))
    errors, resamples = problem.of_what_counts(errors), problem.of_what_counts(resamples)
    others = resampled_graphs(problem.matrices, resamples, errors, problem.graph_of, order=problem.order, seed=seed)
    return Clustering(clusterer_of(method)(seed=seed), problem.graph, others)


def _clustered(problem: _Problem, clustering: Clustering[Any], method: str, asked: GroupingConfig, seed: int) -> Groups:
    """Cluster the tasks into as many groups as were asked for, or as are chosen."""
    number, choice = asked.groups, None
    if number == "auto":
        number, choice = choose_n_groups(
            problem.graph,
            clustering,
            min_groups=asked.min_groups,
            max_groups=asked.max_groups,
            criterion=asked.criterion,
            alone=problem.graphs_alone(),
            seed=seed,
        )
    return replace(_fit(problem, clustering, method, number, asked.overlap_above), number_choice=choice)


def _fit(
    problem: _Problem, clustering: Clustering[Any], method: str, n_groups: int, overlap_above: float | None
) -> Groups:
    """Make the groups, with their certainty where there are resamples."""
    clusterer = clustering.fit(n_groups)
    labels, membership, back = clusterer.labels_, clusterer.membership_, problem.back
    members = labels == np.arange(membership.shape[1])[:, None]
    if overlap_above is not None:
        members |= np.greater_equal(membership.T, overlap_above)
    groups = Groups.from_labels(
        problem.tasks,
        labels[back],
        method,
        membership=membership[back].round(DECIMALS),
        members=members[:, back],
    ).without_copies()
    n_found = len(groups.groups)
    return replace(
        groups,
        asked_for=n_groups if n_found < n_groups else None,  # tasks that cannot be told apart stay together
        certainty=_certainty(problem, clusterer, clustering.resamples) if n_found > 1 else None,
    )


def _certainty(problem: _Problem, clusterer: Clusterer[Any], resamples: Sequence[Any]) -> dict[str, float] | None:
    """Return the certainty of each task; None where there are no resamples."""
    if not resamples:
        return None
    stays = certainty(clusterer.labels_, clusterer, resamples)[problem.back]
    return dict(zip(problem.tasks, stays.round(CERTAINTY_DECIMALS).tolist(), strict=True))
