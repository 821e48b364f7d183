"""The registry, the configuration and the package name the same methods; a missing package is no burden."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from stg_ray.config import GROUPING_METHODS, GroupingConfig
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from stg_ray.grouping.clusterers.registry import CLUSTERERS, EXTRAS, METHODS, check_method
from stg_ray.grouping.n_groups import Criterion
from stg_ray.grouping.stage import check_grouping


def test_the_methods_are_those_of_the_configuration() -> None:
    assert GROUPING_METHODS.own == METHODS
    assert set(METHODS) == {*CLUSTERERS, "points", "budget", "auxiliary"}


def test_the_criteria_are_those_of_the_configuration() -> None:
    assert get_args(Criterion) == get_args(GroupingConfig.model_fields["criterion"].annotation)


def test_the_extras_are_those_of_the_package(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"dev", "hf", "safetensors", "mlflow", "wandb"}
    for method, (_, package) in EXTRAS.items():
        assert [requirement.split(">=")[0] for requirement in declared[method]] == [package]


@pytest.mark.parametrize("method", CLUSTERERS)
def test_settings_of_the_constructor_are_kept_under_their_names(method: str) -> None:
    clusterer = CLUSTERERS[method](3, seed=5)
    assert (clusterer.n_groups, clusterer.seed) == (3, 5)
    assert CLUSTERERS[method].__doc__


@pytest.mark.parametrize("method", EXTRAS)
def test_a_missing_package_is_named_before_anything_runs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_method(method, 9)
    monkeypatch.setitem(EXTRAS, method, ("a_package_that_nobody_has", EXTRAS[method][1]))
    config = set_values(load_config("digits"), [f"grouping.method={method}"])
    with pytest.raises(InputError, match=rf"grouping.method={method} needs .*: pip install 'stg_ray\[{method}\]'"):
        check_grouping(config, [f"t{t}" for t in range(9)])
    check_method("spectral", 9)
