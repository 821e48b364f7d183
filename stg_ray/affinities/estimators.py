"""Registry of the estimators by name, and the checks that they have a meaning for these tasks."""

from __future__ import annotations

import torch

from stg_ray.affinities.adjusted import ConfidenceAdjusted, LogitAdjusted
from stg_ray.affinities.base import Estimator
from stg_ray.affinities.confidence import ConfidenceCorrelation
from stg_ray.affinities.correlation import LabelCorrelation, LogitCorrelation
from stg_ray.affinities.data_map import DataMapDistance
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.start import load_checkpoint
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.pooled import PooledAffinity
from stg_ray.affinities.random import RandomAffinity
from stg_ray.affinities.sign import SignAffinity
from stg_ray.affinities.tag import TagAffinity
from stg_ray.config import AffinityConfig
from stg_ray.data.parts import PartIndex
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork

ESTIMATORS: dict[str, type[Estimator]] = {
    "confidence_adjusted": ConfidenceAdjusted,
    "logit_adjusted": LogitAdjusted,
    "data_map": DataMapDistance,
    "confidence_correlation": ConfidenceCorrelation,
    "landscape": LandscapeDistance,
    "logit_correlation": LogitCorrelation,
    "label_correlation": LabelCorrelation,
    "tag": TagAffinity,
    "random": RandomAffinity,
}
"""The estimator of each method; that of the landscape is its default statistic."""

STATISTICS: dict[str, type[Estimator]] = {
    "aligned": LandscapeDistance,
    "pooled": PooledAffinity,
    "sign": SignAffinity,
}
"""The estimator of each statistic of the landscape."""

OF_DATA_MAPS = ("data_map", "confidence_correlation", "confidence_adjusted")
"""Methods that compare the data maps of the profile."""

AT_NETWORK = ("landscape", "logit_correlation", "logit_adjusted")
"""Methods that look at the trained network."""

BY_SAMPLE = (*OF_DATA_MAPS, "landscape", "label_correlation")
"""Methods that compare tasks at samples that both have labels for; the landscape does where it is aligned."""

FEW_COMMON_PAIRS = 0.5
"""Share of the pairs of tasks with common samples, below which the landscape is not compared sample by sample."""


def estimator_of(method: str, settings: AffinityConfig, index: PartIndex) -> type[Estimator]:
    """Return the estimator of a method; the landscape's is that of its statistic."""
    return STATISTICS[statistic_of(settings, index)] if method == "landscape" else ESTIMATORS[method]


def statistic_of(settings: AffinityConfig, index: PartIndex) -> str:
    """Return the statistic of the landscape, with `auto` resolved for these tasks."""
    if settings.statistic != "auto":
        return settings.statistic
    return "sign" if index.common_pairs < FEW_COMMON_PAIRS or settings.start == "initial" else "aligned"


def check_methods(settings: AffinityConfig, index: PartIndex) -> None:
    """Refuse methods that have no meaning for these tasks.

    Raises:
        InputError: data maps of regression tasks, coordinates of a statistic that takes all, or tasks none of which
            share samples.
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
    """Refuse a network that the affinities cannot look at.

    Raises:
        InputError: the features of a sample depend on others, a name of a layer matches none, or the checkpoint does
            not fit.
    """
    if "landscape" in settings.methods:
        SampleGradients(network.eval(), settings.layers, torch.zeros(2, *index.input_shape))
    if settings.starts_from_checkpoint:
        load_checkpoint(network, settings.start)
