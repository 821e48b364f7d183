"""The affinity stage: Ray actors take parts, the driver adds their K x K sums in part order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stg_ray.affinity.base import Estimator
from stg_ray.affinity.data_map import DataMapDistance
from stg_ray.affinity.landscape import LandscapeDistance
from stg_ray.affinity.resampling import Blocks
from stg_ray.affinity.sign import SignAffinity
from stg_ray.cluster import POLL_SECONDS, cluster_total, root_cause
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.errors import InputError, StgRayError
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir
from stg_ray.storage import Storage

ESTIMATORS: dict[str, type[Estimator]] = {"data_map": DataMapDistance, "landscape": LandscapeDistance}

FEW_COMMON_PAIRS = 0.5
"""Where fewer of the pairs of tasks have common samples, the landscape is not compared sample by sample."""


def estimator_of(method: str, config: Config, index: PartIndex) -> type[Estimator]:
    """The estimator of a method; the landscape's is that of its statistic."""
    if method == "landscape" and statistic_of(config, index) == "sign":
        return SignAffinity
    return ESTIMATORS[method]


def statistic_of(config: Config, index: PartIndex) -> str:
    if config.affinity.statistic != "auto":
        return config.affinity.statistic
    return "sign" if index.common_pairs < FEW_COMMON_PAIRS or config.affinity.start == "initial" else "aligned"


def compute_affinities(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Compute every affinity of `affinity.methods`; units whose sums are there already are not computed again.

    Writes affinity/NAME.parquet, NAME.stderr.parquet and, of what adds over parts, NAME.resamples.arrow.

    Raises:
        StgRayError: a part failed more often than `affinity.max_retries` allows.
    """
    index = read_index(run.sub("parts"))
    estimators = {method: estimator_of(method, config, index) for method in config.affinity.methods}
    units = {method: range(estimator.n_units(run, config)) for method, estimator in estimators.items()}
    missing: list[tuple[str, int]] = [
        (m, number) for m, numbers in units.items() for number in numbers if not run.exists(_partial_name(m, number))
    ]
    if missing:
        _compute_partials(run, config, missing, progress)
    for method, estimator in estimators.items():
        partials = (run.read_arrays(_partial_name(method, number)) for number in units[method])
        blocks = Blocks()
        matrix, error = estimator.combine(blocks.of(partials) if estimator.units_are_parts else partials, index.names)
        settings = config.affinity.model_dump(include={"samples", "layers", "normalize", "start"})
        settings["statistic"] = statistic_of(config, index)
        about = {"method": method, "about": estimator.about, **(settings if method == "landscape" else {})}
        matrix = replace(matrix, parameters=about)
        run.write_parquet(f"affinity/{method}.parquet", matrix.to_table())
        run.write_parquet(f"affinity/{method}.stderr.parquet", replace(matrix, values=error).to_table())
        if (resampled := blocks.resampled(estimator, index.names, config.seed)) is not None:
            run.write_arrays(f"affinity/{method}.resamples.arrow", {"values": resampled})
    progress.summary = f"{' and '.join(estimators)} of {len(index.tasks)} tasks over {index.n_parts()} parts"


def check_tasks(config: Config, index: PartIndex) -> None:
    """Refuse methods that have no meaning for these tasks.

    Raises:
        InputError: data maps of regression tasks, or tasks none of which share samples.
    """
    regression = [task.name for task in index.tasks if task.kind == "regression"]
    if regression and "data_map" in config.affinity.methods:
        raise InputError(
            f"affinity.methods has data_map, but task {regression[0]!r} is a regression, which has no confidence: "
            "set affinity.methods=[landscape]"
        )
    aligned = statistic_of(config, index) == "aligned"
    by_sample = [method for method in config.affinity.methods if method != "landscape" or aligned]
    if index.common_pairs == 0 and by_sample:
        raise InputError(
            f"no two of the {len(index.tasks)} tasks have labels for the same sample, and {by_sample[0]} compares them "
            "sample by sample: set affinity.methods=[landscape] and affinity.statistic=sign"
        )


def _compute_partials(run: RunDir, config: Config, missing: list[tuple[str, int]], progress: StageProgress) -> None:
    """Have actors compute the missing units; each is kept, by the actor itself, as soon as it is there.

    An actor gets its first part when it is up, so that one that the cluster has no room for holds nothing back; and it
    is let go when there is nothing left for it, so that one that is restarted after its node was lost finds room.
    """
    import ray

    retries = config.affinity.max_retries
    worker_class = ray.remote(num_cpus=1, max_restarts=retries, max_task_retries=retries)(_Worker)
    n_actors = max(1, min(cluster_total("CPU"), len(missing)))
    actors = [worker_class.remote({"run": run.uri, "config": config.model_dump()}) for _ in range(n_actors)]
    flying: dict[Any, tuple[Any, tuple[str, int] | None]] = {actor.up.remote(): (actor, None) for actor in actors}
    waiting = list(reversed(missing))
    done = 0
    try:
        while done < len(missing):
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                actor, job = flying.pop(reference)
                try:
                    ray.get(reference)
                except ray.exceptions.RayError as error:
                    what = f"{job[0]} failed on unit {job[1]}" if job else "could not start an actor"
                    raise StgRayError(f"the affinity stage: {what}: {root_cause(error)}") from error
                if waiting:
                    following = waiting.pop()
                    flying[actor.partial.remote(*following)] = (actor, following)
                else:
                    ray.kill(actor)
                    actors.remove(actor)
                done += job is not None
            progress.update(done, len(missing), f"units on {len(actors)} actors")
    finally:
        for actor in actors:
            ray.kill(actor)


class _Worker:
    """A Ray actor: builds each estimator once, then computes the partial sums of the parts it is given."""

    def __init__(self, setup: dict[str, Any]) -> None:
        import torch

        torch.set_num_threads(1)
        self.run = Storage(setup["run"])
        self.config = Config.model_validate(setup["config"])
        self.estimators: dict[str, Estimator] = {}

    def up(self) -> None:
        """Returns when the actor runs."""

    def partial(self, method: str, number: int) -> None:
        """Compute and write the sums of a unit. Doing it twice, after a retry, gives the same file."""
        if method not in self.estimators:
            index = read_index(self.run.sub("parts"))
            self.estimators[method] = estimator_of(method, self.config, index).build(self.run, self.config)
        self.run.write_arrays(_partial_name(method, number), self.estimators[method].partial(number))


def _partial_name(method: str, number: int) -> str:
    return f"affinity/partials/{method}/{number:05d}.arrow"
