"""The group stage: task graph, number of groups, clustering. All on the driver, from K x K matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from stg_ray.config import Config, unknown
from stg_ray.errors import InputError
from stg_ray.grouping.agglomerative import Agglomerative
from stg_ray.grouping.base import Clusterer
from stg_ray.grouping.graph import task_graph
from stg_ray.grouping.kmeans import KMeansGrouping
from stg_ray.grouping.n_groups import choose_n_groups
from stg_ray.grouping.spectral import Spectral
from stg_ray.groups import Groups
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir
from stg_ray.task_matrix import TaskMatrix

CLUSTERERS: dict[str, type[Clusterer]] = {
    "spectral": Spectral,
    "kmeans": KMeansGrouping,
    "agglomerative": Agglomerative,
}


def group(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Group the tasks by the affinities in the run directory and write groups.json."""
    matrices = [TaskMatrix.from_table(run.read_parquet(f"affinity/{name}.parquet")) for name in config.affinity.methods]
    settings = config.grouping
    groups = group_tasks(
        matrices,
        weights=[settings.weights.get(name, 1.0) for name in config.affinity.methods],
        method=settings.method,
        n_groups=settings.groups,
        max_groups=settings.max_groups,
        seed=config.seed,
        affinities=config.affinity.methods,
    )
    run.write_json("groups.json", groups.to_dict())
    progress.summary = describe(groups)


def group_tasks(
    matrices: TaskMatrix | Sequence[TaskMatrix],
    *,
    weights: Sequence[float] | None = None,
    method: str = "spectral",
    n_groups: int | Literal["auto"] = "auto",
    max_groups: int | None = None,
    seed: int = 0,
    affinities: Sequence[str] | None = None,
) -> Groups:
    """Group tasks by one or several K x K affinities or distances.

    Args:
        matrices: of the same K tasks.
        weights: weight of each matrix in the sum of locally scaled affinities.
        method: spectral, kmeans or agglomerative.
        n_groups: a number from 1 to K, or auto.
        affinities: names of the matrices, kept in the result's parameters.

    Raises:
        InputError: an unknown method, fewer than 2 tasks, or more groups than tasks.
    """
    matrices = [matrices] if isinstance(matrices, TaskMatrix) else list(matrices)
    if method not in CLUSTERERS:
        raise InputError(unknown(method, CLUSTERERS, "grouping method"))
    tasks = matrices[0].tasks
    check_n_groups(n_groups, len(tasks))
    graph = task_graph(matrices, dict(enumerate(weights)) if weights is not None else None)
    parameters: dict[str, Any] = {"seed": seed}
    if affinities is not None:
        parameters["affinities"] = dict(zip(affinities, weights or [1.0] * len(matrices), strict=True))
    if n_groups == "auto":
        choice = choose_n_groups(graph, CLUSTERERS[method](seed=seed), max_groups=max_groups, seed=seed)
        parameters["n_groups"] = choice.to_dict()
        n_groups = choice.chosen
    labels = CLUSTERERS[method](n_groups, seed=seed).fit(graph).labels_
    if len(set(labels.tolist())) < n_groups:
        parameters["asked_for"] = n_groups  # tasks that cannot be told apart stay together
    return Groups.from_labels(tasks, labels, method, parameters)


def check_n_groups(n_groups: int | Literal["auto"], n_tasks: int) -> None:
    """Refuse what no clusterer can do.

    Raises:
        InputError: fewer than 2 tasks, or more groups than tasks.
    """
    if n_tasks < 2:
        raise InputError(f"there is {n_tasks} task: grouping needs at least 2")
    if n_groups != "auto" and not 1 <= n_groups <= n_tasks:
        raise InputError(f"grouping.groups={n_groups} but there are {n_tasks} tasks: expected 1 to {n_tasks}, or auto")


def describe(groups: Groups) -> str:
    if len(groups.groups) == 1:
        return f"one group: {groups.why_one}"
    sizes = ", ".join(str(len(members)) for members in groups.groups)
    fewer = f" ({groups.parameters['asked_for']} were asked for)" if "asked_for" in groups.parameters else ""
    return f"{len(groups.tasks)} tasks in {len(groups.groups)} groups of {sizes}{fewer}"
