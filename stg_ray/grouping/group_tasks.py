"""Group tasks by their affinities: `sr.group`, without a run and without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.data_maps.histogram import PointHistogram
from stg_ray.errors import InputError, unknown
from stg_ray.grouping.certainty import ResampledGraphs, certainty
from stg_ray.grouping.clusterers.base import Clusterer
from stg_ray.grouping.clusterers.points import PointClusters, ResampledPoints
from stg_ray.grouping.clusterers.registry import CLUSTERERS, check_method
from stg_ray.grouping.graph import TaskGraph, default_neighbours, task_graph
from stg_ray.grouping.inputs import MatrixLike, as_matrix, as_points, in_order_of
from stg_ray.grouping.n_groups import Criterion, choose_n_groups
from stg_ray.grouping.selection import Conditions, select
from stg_ray.grouping.threads import one_thread_each


@one_thread_each
def group_tasks(
    affinity: MatrixLike | Sequence[MatrixLike],
    *,
    names: Sequence[str] | None = None,
    kind: Kind = "affinity",
    errors: Sequence[np.ndarray | None] | None = None,
    resamples: Sequence[np.ndarray | None] | None = None,
    weights: Sequence[float] | None = None,
    method: str = "spectral",
    n_groups: int | Literal["auto"] = "auto",
    min_groups: int = 1,
    max_groups: int | None = None,
    criterion: Criterion = "silhouette",
    neighbours: int | Literal["auto", "all"] = "auto",
    overlap_above: float | None = None,
    budget: Mapping[str, Any] | None = None,
    seed: int = 0,
    affinities: Sequence[str] | None = None,
) -> Groups:
    """Group tasks by one or several K x K affinities or distances. The order of the tasks does not matter.

    Args:
        affinity: of the same K tasks: a TaskMatrix, an array, a data frame, a path to Parquet or CSV, or a data map; or
            several.
        names: of the tasks of an array or a DataMapState.
        kind: what arrays, data frames and CSV hold: affinity (large means alike) or distance.
        errors: standard errors (K, K) of each matrix; with them the result has each task's certainty.
        resamples: (B, K, K) values of each matrix from resampled samples; they are preferred to its errors.
        weights: weight of each matrix in the sum of locally scaled affinities.
        method: a clusterer (spectral, louvain, agglomerative, kmeans, fuzzy_c_means, mixture, gat, sdp), points,
            which clusters the points of a data map, or budget.
        n_groups: a number from 1 to K, or auto: chosen from `min_groups` to `max_groups` by `criterion`.
        neighbours: edges of each task in the graph: a number, all, or auto (see `default_neighbours`).
        overlap_above: a task is also put into groups that do not serve it, where its membership is this or more.
        budget: conditions of the method budget: see `selection.Conditions`, with task names in together and apart.
        affinities: names of the matrices, kept in the result's parameters.

    Raises:
        InputError: an unknown method or one whose package is missing, fewer than 2 tasks, more groups than tasks,
            matrices that are none.
    """
    sources: list[Any] = list(affinity) if isinstance(affinity, list | tuple) else [affinity]
    sources = [as_points(source, names) or source for source in sources]
    matrices = [as_matrix(source, names=names, kind=kind) for source in sources]
    tasks = matrices[0].tasks
    matrices = [in_order_of(matrix, tasks, f"affinity {i}") for i, matrix in enumerate(matrices)]
    check_method(method, len(tasks))
    check_n_groups(n_groups, len(tasks))
    parameters: dict[str, Any] = {"seed": seed}
    if affinities is not None:
        parameters["affinities"] = dict(zip(affinities, weights or [1.0] * len(matrices), strict=True))
    # With random starts and ties the order of the tasks would matter: what follows sees them in an order of its own.
    order = _own_order(matrices)
    back = np.argsort(order)
    matrices = [replace(matrix, values=matrix.values[np.ix_(order, order)]) for matrix in matrices]
    edges = default_neighbours(len(tasks)) if neighbours == "auto" else None if neighbours == "all" else neighbours

    def graph_of(some: Sequence[TaskMatrix]) -> TaskGraph:
        return task_graph(some, None if weights is None else dict(enumerate(weights)), edges)

    graph = graph_of(matrices)
    if method == "budget":
        found = select(graph.affinity, conditions_of(budget or {}, [tasks[t] for t in order]), seed=seed)
        members = np.array([np.isin(np.arange(len(tasks)), group) for group in found.groups])
        parameters["selection"] = found.to_dict()
        return Groups.from_labels(tasks, found.serving[back], method, parameters, members=members[:, back])

    others: Sequence[TaskGraph]
    if method == "points":
        histogram = _histogram(sources, [tasks[t] for t in order])
        graph = replace(graph, points=histogram)
        others = ResampledPoints(
            histogram, lambda own: replace(task_graph([own.distances()], None, edges), points=own), seed=seed
        )
        clusterer: Clusterer = PointClusters(seed=seed)
    else:
        others = ResampledGraphs(matrices, resamples, errors, graph_of, order=order, seed=seed)
        clusterer = CLUSTERERS[method](seed=seed)
    if n_groups == "auto":
        choice = choose_n_groups(
            graph,
            clusterer,
            min_groups=min_groups,
            max_groups=max_groups,
            criterion=criterion,
            resampled=others,
            alone=_alone(matrices, weights, edges),
            seed=seed,
        )
        parameters["n_groups"] = choice.to_dict()
        n_groups = choice.chosen
    clusterer.n_groups = n_groups
    clusterer.fit(graph)
    labels, membership = clusterer.labels_, clusterer.membership_
    if membership.shape[1] < n_groups:
        parameters["asked_for"] = n_groups  # tasks that cannot be told apart stay together
    if others and membership.shape[1] > 1:
        stays = certainty(labels, clusterer, others)[back]
        parameters["certainty"] = dict(zip(tasks, stays.round(4).tolist(), strict=True))
    members = labels == np.arange(membership.shape[1])[:, None]
    if overlap_above is not None:
        members |= np.greater_equal(membership.T, overlap_above)
    return Groups.from_labels(
        tasks, labels[back], method, parameters, membership=membership[back].round(6), members=members[:, back]
    )


def _histogram(sources: Sequence[Any], tasks: Sequence[str]) -> PointHistogram:
    """The first data map among the sources, its tasks in this order."""
    for source in sources:
        if isinstance(source, PointHistogram):
            return PointHistogram(tuple(tasks), source.counts[[source.tasks.index(task) for task in tasks]])
    raise InputError("grouping by points needs a data map: give an sr.DataMap, or the sr.DataMapState of some samples")


def _alone(matrices: Sequence[TaskMatrix], weights: Sequence[float] | None, edges: int | None) -> list[TaskGraph]:
    """The graph of each matrix that counts and has a value, where there are several."""
    if len(matrices) == 1:
        return []
    counting = [matrix for i, matrix in enumerate(matrices) if weights is None or weights[i] > 0]
    off_diagonal = ~np.eye(len(matrices[0].tasks), dtype=bool)
    return [task_graph([m], None, edges) for m in counting if np.isfinite(m.values[off_diagonal]).any()]


def check_n_groups(n_groups: int | Literal["auto"], n_tasks: int) -> None:
    """Refuse what no clusterer can do.

    Raises:
        InputError: fewer than 2 tasks, or more groups than tasks.
    """
    if n_tasks < 2:
        raise InputError(f"there is {n_tasks} task: grouping needs at least 2")
    if n_groups != "auto" and not 1 <= n_groups <= n_tasks:
        raise InputError(f"grouping.groups={n_groups} but there are {n_tasks} tasks: expected 1 to {n_tasks}, or auto")


def conditions_of(budget: Mapping[str, Any], tasks: Sequence[str]) -> Conditions:
    """The conditions of a budget whose `together` and `apart` are lists of task names, two or more each.

    Raises:
        InputError: a name is none of the tasks', or the conditions contradict each other.
    """
    position = {task: t for t, task in enumerate(tasks)}
    pairs: dict[str, Any] = {}
    for key in ("together", "apart"):
        pairs[key] = []
        for listed in budget.get(key, ()):
            for name in listed:
                if name not in position:
                    raise InputError(f"grouping.budget.{key}: {unknown(name, tasks, 'task')}")
            at = [position[name] for name in listed]
            pairs[key] += [(a, b) for i, a in enumerate(at) for b in at[i + 1 :]]
    rest = {key: value for key, value in budget.items() if key not in pairs}
    conditions = Conditions(**rest, **pairs, names=tasks)
    conditions.units(len(tasks))
    return conditions


def _own_order(matrices: Sequence[TaskMatrix]) -> np.ndarray:
    """An order of the tasks that follows from their values alone: by their sorted rows, then columns."""
    keys = [np.sort(side, axis=1) for matrix in matrices for side in (matrix.values, matrix.values.T)]
    return np.lexsort(np.concatenate(keys, axis=1).T[::-1])
