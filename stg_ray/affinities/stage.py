"""The affinity stage: Ray actors take units of work, the driver adds their K x K sums in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from stg_ray.affinities.actor import partial_name
from stg_ray.affinities.auto_samples import GroupTasks, enough_parts, grows_by_parts
from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.estimators import estimator_of, statistic_of
from stg_ray.affinities.gradients.start import ROWS_LOOKED_AT, starting_weights, untrained_heads
from stg_ray.affinities.pool import ActorPool, Job
from stg_ray.affinities.resampling import Blocks
from stg_ray.affinities.source import RunSource
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.progress import StageProgress


def run(run_dir: RunDir, config: Config, progress: StageProgress, *, group_tasks: GroupTasks) -> None:
    """Compute every affinity of `affinity.methods`; units whose sums are there already are not computed again.

    Writes affinity/NAME.parquet, NAME.stderr.parquet and, of what adds over parts, NAME.resamples.arrow.

    Raises:
        StgRayError: a unit failed more often than `affinity.max_retries` allows.
        InputError: the trunk cannot be compared, or a name of `affinity.layers` or the checkpoint is wrong.
    """
    methods = config.affinity.methods
    needs_network = {"landscape", "logit_correlation"} & set(methods)
    weights = starting_weights(run_dir, config) if needs_network else None
    source = RunSource(run_dir, config, weights)
    index = source.index
    estimators: dict[str, type[Estimator]] = {
        method: estimator_of(method, config.affinity, index) for method in methods
    }
    units = {method: estimator.n_units(source) for method, estimator in estimators.items()}
    grows = {method for method, estimator in estimators.items() if grows_by_parts(config.affinity, estimator)}
    total = sum(units.values())
    with ActorPool(run_dir, config, weights, progress) as pool:

        def compute(jobs: list[Job]) -> None:
            there = {job for m, n in units.items() for job in _jobs(m, n) if run_dir.exists(partial_name(*job))}
            pool.compute([job for job in jobs if job not in there], len(there), total)

        compute([job for method, n in units.items() if method not in grows for job in _jobs(method, n)])
        for method in grows:

            def matrix_of(n: int, method: str = method) -> TaskMatrix:
                compute(_jobs(method, n))
                return _combined(run_dir, method, estimators[method], n, index.names)[0]

            units[method] = enough_parts(index.n_parts(), matrix_of, config, group_tasks)
    details = []
    if "landscape" in methods and (warning := untrained_heads(source.network(), *source.examples(ROWS_LOOKED_AT))):
        details.append(f"beware: {warning}")
    for method, estimator in estimators.items():
        blocks = Blocks()
        matrix, error = _combined(run_dir, method, estimator, units[method], index.names, blocks)
        settings = config.affinity.model_dump(
            include={"sampling", "layers", "normalize", "start", "precision", "coordinates"}
        )
        about = {"method": method, "about": estimator.about}
        if method == "landscape":
            about |= {**settings, "statistic": statistic_of(config.affinity, index)}
        matrix = replace(matrix, parameters={**about, **matrix.parameters})
        run_dir.write_parquet(f"affinity/{method}.parquet", matrix.to_table())
        run_dir.write_parquet(f"affinity/{method}.stderr.parquet", replace(matrix, values=error).to_table())
        if (resampled := blocks.resampled(estimator, index.names, config.seed)) is not None:
            run_dir.write_arrays(f"affinity/{method}.resamples.arrow", {"values": resampled})
        details += describe(matrix)
    progress.summary = "; ".join(
        [f"{' and '.join(estimators)} of {len(index.tasks)} tasks over {index.n_parts()} parts", *details]
    )


def describe(matrix: TaskMatrix) -> list[str]:
    """What a user must know of an approximation."""
    n, error = matrix.parameters.get("coordinates"), matrix.parameters.get("coordinates_error")
    if n is None:
        return []
    return [f"{n:,} random coordinates, error {error:.1%}" if error is not None else "all coordinates were compared"]


def _jobs(method: str, n_units: int) -> list[Job]:
    return [(method, number) for number in range(n_units)]


def _combined(
    run: Storage, method: str, estimator: type[Estimator], n_units: int, tasks: list[str], blocks: Blocks | None = None
) -> tuple[TaskMatrix, np.ndarray]:
    partials: Iterable[Partial] = (run.read_arrays(partial_name(*job)) for job in _jobs(method, n_units))
    if blocks is not None and estimator.units_are_parts:
        partials = blocks.of(partials)
    return estimator.combine(partials, tasks)
