"""The affinity stage: Ray actors compute the sums of units of work, the driver combines them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from stg_ray.affinities.actor import partial_name
from stg_ray.affinities.auto_samples import GroupTasks, enough_parts, grows_by_parts
from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.checked import combined
from stg_ray.affinities.estimators import estimators_of, statistic_of
from stg_ray.affinities.gradients.start import ROWS_LOOKED_AT, starting_weights, untrained_heads
from stg_ray.affinities.pool import ActorPool, Job
from stg_ray.affinities.resampling import BlockSums
from stg_ray.affinities.source import RunSource, Source
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.progress import StageProgress
from stg_ray.shown import counted
from stg_ray.tasks.rare import first_names

NAMED = 3
"""Tasks that a line names."""

MetaProfile = Callable[[RunDir, Config, StageProgress], Mapping[str, torch.Tensor]]
"""Learns one initialisation for all tasks of a run: see `retraining.meta_profile`."""

LANDSCAPE_SETTINGS = {"sampling", "layers", "normalize", "start", "precision", "coordinates"}
"""Keys of the `affinity` section that are kept with the landscape's matrix."""


def run(
    run_dir: RunDir, config: Config, progress: StageProgress, *, group_tasks: GroupTasks, meta_profile: MetaProfile
) -> None:
    """Compute every affinity of `affinity.methods`; units whose sums are there already are not computed again.

    Writes affinity/NAME.parquet, NAME.stderr.parquet and, where units are parts, NAME.resamples.arrow; limits.json says
    what keeps them from being trusted.

    Args:
        group_tasks: makes groups of affinities, where these tell how many rows are enough.
        meta_profile: learns one initialisation for all tasks, where they are compared there.

    Raises:
        StgRayError: a unit failed more often than `affinity.max_retries` allows.
        InputError: the trunk cannot be compared, or a name of `affinity.layers` or the checkpoint is wrong.
    """
    index = read_index(run_dir.sub("parts"))
    estimators = estimators_of(config.affinity, index)
    at_network = any("network" in estimator.needs for estimator in estimators.values())
    weights = (
        starting_weights(run_dir, config, partial(meta_profile, run_dir, config, progress)) if at_network else None
    )
    source = RunSource(run_dir, config, weights)
    with ActorPool(run_dir, config, weights, progress) as pool:
        n_units = _compute(pool, source, estimators, group_tasks)
    matrices = []
    for method, estimator in estimators.items():
        blocks = BlockSums()
        partials: Iterable[Partial] = _read_partials(run_dir, method, n_units[method])
        if estimator.units_are_parts:
            partials = map(blocks.add, partials)  # on their way: each is read once
        matrix = combined(estimator, method, partials, index.tasks)
        matrix = replace(matrix, parameters={**_about(source, method, estimator), **matrix.parameters})
        _write(run_dir, method, matrix, blocks.resampled(estimator, index.tasks, config.seed))
        matrices.append(matrix)
    run_dir.write_json("affinity/limits.json", _limits(source, estimators, matrices))
    progress.summary = "; ".join(
        [
            f"{' and '.join(estimators)} of {len(index.tasks)} tasks over {index.n_parts()} parts",
            *(line for matrix in matrices for line in _accuracy(matrix)),
        ]
    )


def _compute(
    pool: ActorPool, source: RunSource, estimators: Mapping[str, type[Estimator]], group_tasks: GroupTasks
) -> dict[str, int]:
    """Compute the units that are not there yet, and return the number of units of each method.

    Under `samples: auto` a method has as many units as its groups need.
    """
    run, config, tasks = source.run, source.config, source.index.tasks
    n_units = {method: estimator.n_units(source) for method, estimator in estimators.items()}
    growing = [method for method, estimator in estimators.items() if grows_by_parts(config.affinity, estimator)]
    total = sum(n_units.values())

    def compute(jobs: Sequence[Job]) -> None:
        done = {job for m, n in n_units.items() for job in _jobs(m, n) if run.exists(partial_name(*job))}
        pool.compute([job for job in jobs if job not in done], len(done), total)

    compute([job for method, n in n_units.items() if method not in growing for job in _jobs(method, n)])
    for method in growing:

        def matrix_of(n: int, method: str = method) -> TaskMatrix:
            compute(_jobs(method, n))
            return combined(estimators[method], method, _read_partials(run, method, n), tasks)

        n_units[method] = enough_parts(n_units[method], matrix_of, config, group_tasks)
    return n_units


def _jobs(method: str, n_units: int) -> list[Job]:
    return [(method, number) for number in range(n_units)]


def _read_partials(run: Storage, method: str, n_units: int) -> Iterator[Partial]:
    """Read the sums of a method's units one at a time, in their order."""
    for job in _jobs(method, n_units):
        yield run.read_arrays(partial_name(*job))


def _about(source: Source, method: str, estimator: type[Estimator]) -> dict[str, Any]:
    """Return the parameters that are kept with a method's matrix."""
    about: dict[str, Any] = {"method": method, "about": estimator.about}
    if method == "landscape":
        about |= source.settings.model_dump(include=LANDSCAPE_SETTINGS)
        about["statistic"] = statistic_of(source.settings, source.index)
    return about


def _write(run_dir: RunDir, method: str, matrix: TaskMatrix, resampled: np.ndarray | None) -> None:
    """Write a matrix, its standard errors, and its resamplings (B, K, K) where there are any."""
    assert matrix.errors is not None
    run_dir.write_parquet(f"affinity/{method}.parquet", matrix.to_table())
    run_dir.write_parquet(f"affinity/{method}.stderr.parquet", replace(matrix, values=matrix.errors).to_table())
    if resampled is not None:
        run_dir.write_arrays(f"affinity/{method}.resamples.arrow", {"values": resampled})


def _limits(
    source: Source, estimators: Mapping[str, type[Estimator]], matrices: Sequence[TaskMatrix]
) -> list[tuple[str, str]]:
    """Return what keeps the affinities from being trusted, each with what to do about it."""
    limits = []
    if any("trained_heads" in estimator.needs for estimator in estimators.values()):
        untrained = untrained_heads(source.network(), *source.examples(ROWS_LOOKED_AT))
        limits += [(untrained, "raise profile.epochs, or set affinity.start=initial")] if untrained else []
    if alone := tasks_without_a_value(matrices):
        few = first_names([repr(task) for task in alone], NAMED)
        limits.append(
            (
                f"{len(alone):,} of {counted(len(source.index.tasks), 'task')} could not be compared with any other, "
                f"so that nothing tells where to group them ({few})",
                "give them labels at the samples of others, train until their outputs differ (profile.epochs), or take "
                "another of affinity.methods",
            )
        )
    return limits


def tasks_without_a_value(matrices: Sequence[TaskMatrix]) -> list[str]:
    """Return the tasks that have no value with any other task in any of the matrices, in either direction."""
    has_value = np.zeros(len(matrices[0].tasks), dtype=bool)
    for matrix in matrices:
        known = np.isfinite(matrix.values)
        np.fill_diagonal(known, False)
        has_value |= known.any(axis=0) | known.any(axis=1)
    return [task for task, has in zip(matrices[0].tasks, has_value, strict=True) if not has]


def _accuracy(matrix: TaskMatrix) -> list[str]:
    """Say how near an estimate from random coordinates is."""
    n, error = matrix.parameters.get("coordinates"), matrix.parameters.get("coordinates_error")
    if n is None:
        return []
    return [f"{n:,} random coordinates, error {error:.1%}" if error is not None else "all coordinates were compared"]
