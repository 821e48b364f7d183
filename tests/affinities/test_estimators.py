"""The registries of estimators, held equal to the names that the configuration allows."""

from __future__ import annotations

import sys
from typing import get_args, get_type_hints

import pytest

from stg_ray.affinities.base import Estimator, Need
from stg_ray.affinities.estimators import ESTIMATORS, STATISTICS
from stg_ray.config import Affinity, AffinityConfig

ALL = {**ESTIMATORS, **STATISTICS}


def test_the_configuration_allows_the_methods_that_there_are() -> None:
    assert set(get_args(Affinity)) == set(ESTIMATORS)


def test_the_configuration_allows_the_statistics_that_there_are() -> None:
    allowed = get_args(get_type_hints(AffinityConfig)["statistic"])
    assert set(allowed) - {"auto"} == set(STATISTICS)


@pytest.mark.parametrize("estimator", ALL.values(), ids=ALL)
def test_every_estimator_says_what_it_is(estimator: type[Estimator]) -> None:
    module = sys.modules[estimator.__module__]
    assert module.__doc__
    assert estimator.__doc__ != Estimator.__doc__
    assert estimator.about.endswith(".")
    assert estimator.kind in ("affinity", "distance")
    assert estimator.needs <= set(get_args(Need))
    assert "network" in estimator.needs or "trained_heads" not in estimator.needs, "heads are the network's"
