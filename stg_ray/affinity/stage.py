"""The affinity stage: Ray actors take parts, the driver adds their K x K sums in part order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stg_ray.affinity.base import PartEstimator, Partial
from stg_ray.affinity.data_map import DataMapDistance
from stg_ray.affinity.landscape import LandscapeDistance
from stg_ray.cluster import POLL_SECONDS, cluster_cpus, root_cause
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, part_name, read_index
from stg_ray.errors import InputError, StgRayError
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir
from stg_ray.storage import Storage

ESTIMATORS: dict[str, type[PartEstimator]] = {"data_map": DataMapDistance, "landscape": LandscapeDistance}


def compute_affinities(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Compute every affinity of `affinity.methods`; parts whose sums are there already are not computed again.

    Writes affinity/NAME.parquet and affinity/NAME.stderr.parquet.

    Raises:
        StgRayError: a part failed more often than `affinity.max_retries` allows.
    """
    index = read_index(run.sub("parts"))
    methods = config.affinity.methods
    missing: list[tuple[str, int]] = [
        (method, number)
        for method in methods
        for number in range(index.n_parts())
        if not run.exists(_partial_name(method, number))
    ]
    if missing:
        _compute_partials(run, config, index, missing, progress)
    for method in methods:
        partials = [run.read_arrays(_partial_name(method, number)) for number in range(index.n_parts())]
        matrix, error = ESTIMATORS[method].combine(partials, index.names)
        about = {"method": method, **config.affinity.model_dump(include={"samples", "layers", "normalize"})}
        matrix = replace(matrix, parameters=about if method == "landscape" else {"method": method})
        run.write_parquet(f"affinity/{method}.parquet", matrix.to_table())
        run.write_parquet(f"affinity/{method}.stderr.parquet", replace(matrix, values=error).to_table())
    for method in methods:
        run.delete(f"affinity/partials/{method}")
    progress.summary = f"{' and '.join(methods)} of {len(index.tasks)} tasks over {index.n_parts()} parts"


def check_tasks(config: Config, index: PartIndex) -> None:
    """Refuse methods that have no meaning for these tasks, before anything is run.

    Raises:
        InputError: data maps of regression tasks, or of tasks that share no samples.
    """
    regression = [task.name for task in index.tasks if task.kind == "regression"]
    if regression and "data_map" in config.affinity.methods:
        raise InputError(
            f"affinity.methods has data_map, but task {regression[0]!r} is a regression, which has no confidence: "
            "set affinity.methods=[landscape]"
        )


def _compute_partials(
    run: RunDir, config: Config, index: PartIndex, missing: list[tuple[str, int]], progress: StageProgress
) -> None:
    import ray

    worker_class = ray.remote(
        num_cpus=1, max_restarts=config.affinity.max_retries, max_task_retries=config.affinity.max_retries
    )(_Worker)
    n_actors = max(1, min(cluster_cpus(), len(missing)))
    setup = {"run": run.uri, "config": config.model_dump()}
    actors = [worker_class.remote(setup) for _ in range(n_actors)]
    waiting = list(reversed(missing))
    done = 0
    flying: dict[Any, tuple[Any, tuple[str, int]]] = {}

    def launch(actor: Any) -> None:
        if waiting:
            job = waiting.pop()
            flying[actor.partial.remote(*job)] = (actor, job)

    try:
        for actor in actors:
            launch(actor)
        while flying:
            ready, _ = ray.wait(list(flying), num_returns=1, timeout=POLL_SECONDS)
            for reference in ready:
                actor, (method, number) = flying.pop(reference)
                launch(actor)
                try:
                    run.write_arrays(_partial_name(method, number), ray.get(reference))
                except ray.exceptions.RayError as error:
                    raise StgRayError(f"the affinity {method} failed on part {number}: {root_cause(error)}") from error
                done += 1
            progress.update(done, len(missing), f"parts on {n_actors} actors")
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
        self.estimators: dict[str, PartEstimator] = {}

    def partial(self, method: str, number: int) -> Partial:
        if method not in self.estimators:
            self.estimators[method] = _build(method, self.run, self.config)
        return self.estimators[method].partial(number)


def _build(method: str, run: Storage, config: Config) -> PartEstimator:
    if method == "data_map":
        return DataMapDistance(run)
    from stg_ray.models import build_network, load_weights

    index = read_index(run.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    network.load_state_dict(load_weights(run, "profile/network.pt"))
    return LandscapeDistance(run, config.affinity, network)


def _partial_name(method: str, number: int) -> str:
    return f"affinity/partials/{method}/{part_name('train', number)}.arrow"
