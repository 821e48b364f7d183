"""Every preset names a function that can be called, and settings that are valid."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from stg_ray.config.loading import load_config
from stg_ray.config.presets import PRESETS
from stg_ray.data.torchvision_sets import SPLITS_OF_SET
from stg_ray.imports import resolve


@pytest.mark.parametrize("name", PRESETS)
def test_the_source_takes_what_it_is_called_with(name: str) -> None:
    preset = PRESETS[name]
    inspect.signature(resolve(preset.source)).bind(Path(), 0, **preset.arguments)
    assert preset.arguments.get("name", "MNIST") in SPLITS_OF_SET


@pytest.mark.parametrize("name", PRESETS)
def test_its_defaults_are_those_of_the_loaded_configuration(name: str) -> None:
    config = load_config(name).model_dump()
    for section, values in PRESETS[name].defaults.items():
        assert {key: config[section][key] for key in values} == values


def test_the_job_configurations_are_the_presets(repository: Path) -> None:
    configurations = {path.stem: path for path in (repository / "jobs" / "configs").glob("*.yaml")}
    assert set(configurations) == set(PRESETS)
    for name, path in configurations.items():
        assert load_config(str(path)) == load_config(name)
