"""The affinity stage: Ray actors take units of work, the driver adds their K x K sums in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stg_ray.affinities.auto_samples import enough_parts, grows_by_parts
from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.confidence import ConfidenceCorrelation
from stg_ray.affinities.correlation import LabelCorrelation, LogitCorrelation
from stg_ray.affinities.data_map import DataMapDistance
from stg_ray.affinities.gradients import SampleGradients
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.pool import ActorPool, Job
from stg_ray.affinities.pooled import PooledAffinity
from stg_ray.affinities.random import RandomAffinity
from stg_ray.affinities.resampling import Blocks
from stg_ray.affinities.sign import SignAffinity
from stg_ray.affinities.source import RunSource, Source
from stg_ray.affinities.start import ROWS_LOOKED_AT, load_checkpoint, starting_weights, untrained_heads
from stg_ray.affinities.tag import TagAffinity
from stg_ray.config import AffinityConfig, Config
from stg_ray.data.parts import PartIndex
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork
from stg_ray.progress import StageProgress
from stg_ray.run_dir import RunDir
from stg_ray.storage import Storage
from stg_ray.task_matrix import TaskMatrix

ESTIMATORS: dict[str, type[Estimator]] = {
    "data_map": DataMapDistance,
    "confidence_correlation": ConfidenceCorrelation,
    "landscape": LandscapeDistance,
    "logit_correlation": LogitCorrelation,
    "label_correlation": LabelCorrelation,
    "tag": TagAffinity,
    "random": RandomAffinity,
}

STATISTICS: dict[str, type[Estimator]] = {
    "aligned": LandscapeDistance,
    "pooled": PooledAffinity,
    "sign": SignAffinity,
}

OF_DATA_MAPS = ("data_map", "confidence_correlation")
"""Methods that compare what the profile recorded."""

BY_SAMPLE = (*OF_DATA_MAPS, "landscape", "label_correlation")
"""Methods that compare tasks at samples that both have labels for; the landscape does where it is aligned."""

FEW_COMMON_PAIRS = 0.5
"""Where fewer of the pairs of tasks have common samples, the landscape is not compared sample by sample."""


def estimator_of(method: str, settings: AffinityConfig, index: PartIndex) -> type[Estimator]:
    """The estimator of a method; the landscape's is that of its statistic."""
    return STATISTICS[statistic_of(settings, index)] if method == "landscape" else ESTIMATORS[method]


def statistic_of(settings: AffinityConfig, index: PartIndex) -> str:
    if settings.statistic != "auto":
        return settings.statistic
    return "sign" if index.common_pairs < FEW_COMMON_PAIRS or settings.start == "initial" else "aligned"


def compute_affinities(run: RunDir, config: Config, progress: StageProgress) -> None:
    """Compute every affinity of `affinity.methods`; units whose sums are there already are not computed again.

    Writes affinity/NAME.parquet, NAME.stderr.parquet and, of what adds over parts, NAME.resamples.arrow.

    Raises:
        StgRayError: a unit failed more often than `affinity.max_retries` allows.
        InputError: the trunk cannot be compared, or a name of `affinity.layers` or the checkpoint is wrong.
    """
    methods = config.affinity.methods
    needs_network = {"landscape", "logit_correlation"} & set(methods)
    weights = starting_weights(run, config) if needs_network else None
    source = RunSource(run, config, weights)
    index = source.index
    estimators: dict[str, type[Estimator]] = {
        method: estimator_of(method, config.affinity, index) for method in methods
    }
    units = {method: estimator.n_units(source) for method, estimator in estimators.items()}
    grows = {method for method, estimator in estimators.items() if grows_by_parts(config.affinity, estimator)}
    total = sum(units.values())
    with ActorPool(run, config, weights, progress) as pool:

        def compute(jobs: list[Job]) -> None:
            there = {job for m, n in units.items() for job in _jobs(m, n) if run.exists(partial_name(*job))}
            pool.compute([job for job in jobs if job not in there], len(there), total)

        compute([job for method, n in units.items() if method not in grows for job in _jobs(method, n)])
        for method in grows:

            def matrix_of(n: int, method: str = method) -> TaskMatrix:
                compute(_jobs(method, n))
                return _combined(run, method, estimators[method], n, index.names)[0]

            units[method] = enough_parts(index.n_parts(), matrix_of, config)
    details = []
    if "landscape" in methods and (warning := untrained_heads(source.network(), *source.examples(ROWS_LOOKED_AT))):
        details.append(f"beware: {warning}")
    for method, estimator in estimators.items():
        blocks = Blocks()
        matrix, error = _combined(run, method, estimator, units[method], index.names, blocks)
        settings = config.affinity.model_dump(
            include={"sampling", "layers", "normalize", "start", "precision", "coordinates"}
        )
        about = {"method": method, "about": estimator.about}
        if method == "landscape":
            about |= {**settings, "statistic": statistic_of(config.affinity, index)}
        matrix = replace(matrix, parameters={**about, **matrix.parameters})
        run.write_parquet(f"affinity/{method}.parquet", matrix.to_table())
        run.write_parquet(f"affinity/{method}.stderr.parquet", replace(matrix, values=error).to_table())
        if (resampled := blocks.resampled(estimator, index.names, config.seed)) is not None:
            run.write_arrays(f"affinity/{method}.resamples.arrow", {"values": resampled})
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


def check_methods(settings: AffinityConfig, index: PartIndex) -> None:
    """Refuse methods that have no meaning for these tasks.

    Raises:
        InputError: data maps of regression tasks, or tasks none of which share samples.
    """
    regression = [task.name for task in index.tasks if task.kind == "regression"]
    recorded = [method for method in settings.methods if method in OF_DATA_MAPS]
    if regression and recorded:
        raise InputError(
            f"affinity.methods has {recorded[0]}, but task {regression[0]!r} is a regression, which has no confidence: "
            "set affinity.methods=[landscape]"
        )
    if settings.sampling == "variability" and len(regression) == len(index.tasks):
        raise InputError("affinity.sampling=variability needs data maps, which regressions have not: choose stratified")
    if settings.coordinates is not None and "landscape" in settings.methods and statistic_of(settings, index) == "sign":
        raise InputError(
            "affinity.coordinates estimates distances, and these tasks are compared by the sign statistic, which takes "
            "every coordinate: leave it out, or set affinity.statistic=pooled"
        )
    aligned = statistic_of(settings, index) == "aligned"
    by_sample = [m for m in settings.methods if m in BY_SAMPLE and (m != "landscape" or aligned)]
    if index.common_pairs == 0 and by_sample:
        raise InputError(
            f"no two of the {len(index.tasks)} tasks have labels for the same sample, and {by_sample[0]} compares them "
            "sample by sample: set affinity.methods=[landscape] and affinity.statistic=sign"
        )


def check_network(settings: AffinityConfig, index: PartIndex, network: TaskNetwork) -> None:
    """Refuse a network whose samples have no gradients of their own, names of layers that it does not have, and a
    checkpoint that does not fit.

    Raises:
        InputError: as said.
    """
    if "landscape" in settings.methods:
        SampleGradients(network.eval(), settings.layers, torch.zeros(2, *index.input_shape))
    if settings.starts_from_checkpoint:
        load_checkpoint(network, settings.start)


def _jobs(method: str, n_units: int) -> list[Job]:
    return [(method, number) for number in range(n_units)]


def _combined(
    run: Storage, method: str, estimator: type[Estimator], n_units: int, tasks: list[str], blocks: Blocks | None = None
) -> tuple[TaskMatrix, np.ndarray]:
    partials: Iterable[Partial] = (run.read_arrays(partial_name(*job)) for job in _jobs(method, n_units))
    if blocks is not None and estimator.units_are_parts:
        partials = blocks.of(partials)
    return estimator.combine(partials, tasks)


def partial_name(method: str, number: int) -> str:
    return f"affinity/partials/{method}/{number:05d}.arrow"


class AffinityActor:
    """What an actor does: builds each estimator once, then computes the sums of the units it is given."""

    def __init__(self, run: str, config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.run = Storage(run)
        self.config = Config.model_validate(config)
        self.source: Source | None = None
        self.estimators: dict[str, Estimator] = {}

    def up(self) -> None:
        """Returns when the actor runs."""

    def load(self, weights: Mapping[str, torch.Tensor] | None) -> Source:
        """What estimators are built from, with the weights of the network at which tasks are compared."""
        import ray

        # A node's GPUs may be seen by an actor that was given none.
        device = torch.device("cuda" if torch.cuda.is_available() and ray.get_gpu_ids() else "cpu")
        self.source = RunSource(self.run, self.config, weights, device)
        return self.source

    def partial(self, method: str, number: int, weights: list[Any]) -> None:
        """Compute and write the sums of a unit. Doing it twice, after a retry, gives the same file.

        Args:
            weights: a reference to them in the object store, looked up once.
        """
        import ray

        source = self.source or self.load(ray.get(weights[0]) if weights else None)
        if method not in self.estimators:
            self.estimators[method] = estimator_of(method, source.settings, source.index)(source)
        self.run.write_arrays(partial_name(method, number), self.estimators[method].partial(number))
