"""The partitions that a search measures first, and what it knows of the tasks before it has measured any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from sklearn.metrics import adjusted_rand_score

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.errors import InputError
from stg_ray.retraining.plans import conditions_of
from stg_ray.retraining.search.partitions import canonical, members_of
from stg_ray.retraining.search.size import Size

CLUSTERERS = ("spectral", "agglomerative")
"""The methods by which candidates are made from each affinity."""
SHARE_OF_CANDIDATES = 1 / 3
"""Share of the networks that the first candidates may take."""
SAME = 0.95
"""Adjusted Rand index from which on two candidates are taken for the same."""

N_RESAMPLED = 3
"""Resamplings of each affinity that candidates are made from."""

GroupTasks = Callable[..., Groups]
"""`grouping.group_tasks`."""


def candidates_of(
    config: Config,
    ours: Groups,
    matrices: list[TaskMatrix],
    size: Size,
    group_tasks: GroupTasks,
    of_resampled: Sequence[TaskMatrix] = (),
) -> list[np.ndarray]:
    """Different partitions to measure first: the user's, ours, and those of each affinity by several clusterers.

    Args:
        of_resampled: affinities of resampled training rows, which are clustered last.
    """
    candidates = [_labels(groups, ours.tasks) for groups in config.search.candidates]
    wanted = max(len(candidates), int(SHARE_OF_CANDIDATES * size.networks / size.groups))
    sources = [matrices, *([matrix] for matrix in matrices)] if len(matrices) > 1 else [matrices]
    numbers = range(size.groups, size.fewest - 1, -1)
    conditions, budget = conditions_of(config, ours.tasks), config.grouping.budget

    def made_by(source: list[TaskMatrix], method: str, number: int) -> list[np.ndarray]:
        if budget is None:
            return [group_tasks(source, method=method, n_groups=number, seed=config.seed).labels]
        within = budget.model_dump() | {"networks": number, "overlap": False, "networks_per_task": None}
        try:
            return [group_tasks(source, method="budget", budget=within, seed=config.seed).labels]
        except InputError:  # so few groups cannot keep it, or it adds gains and this is a distance
            return []

    clusterers = CLUSTERERS if budget is None else ("budget",)
    made = (
        labels
        for source, method, number in [
            *((source, method, number) for method in clusterers for number in numbers for source in sources),
            *(([matrix], clusterers[0], size.groups) for matrix in of_resampled),
        ]
        for labels in made_by(source, method, number)
    )
    for labels in map(canonical, chain([ours.labels], made)):
        if len(candidates) >= wanted:
            break
        is_new = all(adjusted_rand_score(labels, other) < SAME for other in candidates)
        is_possible = size.fewest <= labels.max() + 1 <= size.groups and not conditions.broken_by(members_of(labels))
        if is_new and is_possible:
            candidates.append(labels)
    return candidates


def resampled(run: RunDir, names: Sequence[str], matrices: Sequence[TaskMatrix]) -> list[TaskMatrix]:
    """Return the first few resamplings of each affinity that has them.

    Args:
        names: of the affinities in the run, in the order of their matrices.
    """
    found: list[TaskMatrix] = []
    for name, matrix in zip(names, matrices, strict=True):
        file = f"affinity/{name}.resamples.arrow"
        if run.exists(file):
            found += [replace(matrix, values=own) for own in run.read_arrays(file)["values"][:N_RESAMPLED]]
    return found


def _labels(groups: list[list[str]], tasks: list[str]) -> np.ndarray:
    """The labels (K,) of a user's candidate."""
    number = {task: g for g, group in enumerate(groups) for task in group}
    return canonical(np.array([number[task] for task in tasks]))


def mean_affinity(matrices: list[TaskMatrix]) -> np.ndarray:
    """Return the mean (K, K) of the affinities, in units of their standard deviations over pairs; larger is more alike.

    Of directed ones the mean of both directions is taken, as in the task graph: rows of some are the tasks that help,
    of others those that are helped.
    """
    alike = []
    for matrix in matrices:
        values = np.array(matrix.values if matrix.kind == "affinity" else -matrix.values, dtype=np.float64)
        np.fill_diagonal(values, np.nan)
        both = np.stack([values, values.T])
        values = np.where(
            np.isnan(both).all(axis=0), np.nan, np.nansum(both, axis=0) / (~np.isnan(both)).sum(axis=0).clip(1)
        )
        known = values[np.isfinite(values)]
        if len(known) and known.std() > 0:
            alike.append(np.nan_to_num((values - known.mean()) / known.std()))
    return np.mean(alike, axis=0) if alike else np.zeros((len(matrices[0].tasks),) * 2)
