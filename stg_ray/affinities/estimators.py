"""Registry of the estimators by name, and the checks that they have a meaning for these tasks."""

from __future__ import annotations

import torch

from stg_ray.affinities.adjusted import ConfidenceAdjusted, LogitAdjusted
from stg_ray.affinities.base import Estimator, Need
from stg_ray.affinities.checked import checked_class
from stg_ray.affinities.confidence import ConfidenceCorrelation
from stg_ray.affinities.correlation import LabelCorrelation, LogitCorrelation
from stg_ray.affinities.data_map import DataMapDistance
from stg_ray.affinities.etap import Etap
from stg_ray.affinities.grad_tag import GradTag
from stg_ray.affinities.gradient_cosine import GradientCosine
from stg_ray.affinities.gradients.estimator import GradientEstimator
from stg_ray.affinities.gradients.per_sample import SampleGradients
from stg_ray.affinities.gradients.start import load_checkpoint
from stg_ray.affinities.head_cosine import HeadCosine
from stg_ray.affinities.landscape import LandscapeDistance
from stg_ray.affinities.pooled import PooledAffinity
from stg_ray.affinities.random import RandomAffinity
from stg_ray.affinities.sign import SignAffinity
from stg_ray.affinities.tag import TagAffinity
from stg_ray.affinities.transfer_gain import TransferGain
from stg_ray.config import AFFINITY_METHODS, AffinityConfig
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
    "gradient_cosine": GradientCosine,
    "head_cosine": HeadCosine,
    "tag": TagAffinity,
    "transfer_gain": TransferGain,
    "etap": Etap,
    "grad_tag": GradTag,
    "random": RandomAffinity,
}
"""The estimator of each method; that of the landscape is its default statistic."""

STATISTICS: dict[str, type[Estimator]] = {
    "aligned": LandscapeDistance,
    "pooled": PooledAffinity,
    "sign": SignAffinity,
}
"""The estimator of each statistic of the landscape."""

FEW_COMMON_PAIRS = 0.5
"""Share of the pairs of tasks with common samples, below which the landscape is not compared sample by sample."""


def estimator_of(method: str, settings: AffinityConfig, index: PartIndex) -> type[Estimator]:
    """Return the estimator of a method; the landscape's is that of its statistic.

    Raises:
        InputError: the method is another package's or the user's, and its class cannot be imported, or is incomplete.
    """
    if method == "landscape":
        return STATISTICS[statistic_of(settings, index)]
    if method in ESTIMATORS:
        return ESTIMATORS[method]
    return checked_class(AFFINITY_METHODS.load(method, Estimator), method)  # type: ignore[type-abstract]


def statistic_of(settings: AffinityConfig, index: PartIndex) -> str:
    """Return the statistic of the landscape, with `auto` resolved for these tasks."""
    if settings.statistic != "auto":
        return settings.statistic
    return "sign" if index.common_pairs < FEW_COMMON_PAIRS or settings.has_one_head else "aligned"


def estimators_of(settings: AffinityConfig, index: PartIndex) -> dict[str, type[Estimator]]:
    """Return the estimators of all methods, by their names."""
    return {method: estimator_of(method, settings, index) for method in methods_for(settings, index)}


def methods_for(settings: AffinityConfig, index: PartIndex) -> list[str]:
    """Return the methods of a configuration, with `auto` resolved for these tasks.

    Those that compare tasks sample by sample told known groups best (jobs/bench/rarity.py). A regression has outputs,
    but no confidence. Where no two tasks have a sample in common, the landscape is what is left.
    """
    if not settings.leaves_methods:
        return settings.methods
    if index.common_pairs == 0:
        return ["landscape"]
    has_regression = any(task.kind == "regression" for task in index.tasks)
    return ["logit_adjusted"] if has_regression else ["confidence_adjusted", "logit_adjusted"]


def check_methods(settings: AffinityConfig, index: PartIndex) -> None:
    """Refuse methods that have no meaning for these tasks.

    Raises:
        InputError: data maps of regression tasks, coordinates of a statistic that takes all, one head for all tasks
            where heads are compared, or tasks none of which share samples.
    """
    estimators = estimators_of(settings, index)

    def needing(need: Need) -> list[str]:
        return [method for method, estimator in estimators.items() if need in estimator.needs]

    regression = [task.name for task in index.tasks if task.kind == "regression"]
    if regression and (recorded := needing("data_maps")):
        raise InputError(
            f"affinity.methods has {recorded[0]}, but task {regression[0]!r} is a regression, which has no confidence: "
            f"set affinity.methods=[{'logit_adjusted' if index.common_pairs else 'landscape'}]"
        )
    if settings.sampling == "variability" and len(regression) == len(index.tasks):
        raise InputError("affinity.sampling=variability needs data maps, which regressions have not: choose stratified")
    if settings.coordinates is not None and "landscape" in estimators and statistic_of(settings, index) == "sign":
        raise InputError(
            "affinity.coordinates estimates distances, and these tasks are compared by the sign statistic, which takes "
            "every coordinate: leave it out, or set affinity.statistic=pooled"
        )
    if settings.has_one_head and HeadCosine in estimators.values():
        raise InputError(
            f"affinity.methods has head_cosine, but affinity.start={settings.start} gives all tasks the same head: "
            "leave one out"
        )
    if index.n_samples("val") == 0 and (by_validation := needing("validation_rows")):
        raise InputError(
            f"{by_validation[0]} scores tasks on validation rows, and there are none: set data.split=stratified, or "
            "leave it out"
        )
    if index.common_pairs == 0 and (by_sample := needing("common_samples")):
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
    if any(issubclass(estimator, GradientEstimator) for estimator in estimators_of(settings, index).values()):
        SampleGradients(network.eval(), settings.layers, torch.zeros(2, *index.input_shape))
    if settings.starts_from_checkpoint:
        load_checkpoint(network, settings.start)
