"""The settings that are left to the trunk are resolved once, and kept: a run goes on as it began."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.fingerprints import fingerprint_values
from stg_ray.config.loading import load_config
from stg_ray.config.recipes import (
    BY_TRUNK,
    CNN,
    MANY_INPUTS,
    MLP,
    MLP_OF_MANY_INPUTS,
    OTHERS,
    WIDE,
    Recipe,
    model_of,
    recipe_of,
)
from stg_ray.config.sections import RESOLVED
from stg_ray.models.trunks import TRUNKS
from stg_ray.training.auto import resolve_recipe

TABLE, MANY, IMAGES = (20,), (MANY_INPUTS,), (3, 32, 32)


def config_of(**sections: Any) -> Config:
    return load_config({"data": {"npz": "mine.npz"}, **sections})


def values(config: Config, section: str = "retrain") -> Recipe:
    """The recipe that a configuration has."""
    of_training: Any = getattr(config, section)
    model: Any = config.model
    return Recipe(model.width, model.depth, model.dropout, of_training.lr, of_training.weight_decay)


@pytest.mark.parametrize(
    ("trunk", "shape", "expected"),
    [
        ("auto", TABLE, MLP),
        ("auto", MANY, MLP_OF_MANY_INPUTS),
        ("mlp", IMAGES, MLP_OF_MANY_INPUTS),
        ("auto", IMAGES, CNN),
        ("resnet18", IMAGES, OTHERS),
        ("linear", TABLE, OTHERS),
    ],
)
def test_the_trunk_decides(trunk: str, shape: tuple[int, ...], expected: Recipe) -> None:
    config = resolve_recipe(config_of(model={"trunk": trunk}), shape)
    assert values(config, "profile") == values(config, "retrain") == expected


def test_what_is_given_stays() -> None:
    given = config_of(model={"width": 512, "dropout": 0.0}, profile={"lr": 0.1}, retrain={"weight_decay": 0.0})
    config = resolve_recipe(given, TABLE)
    assert values(config, "profile") == Recipe(512, 2, 0.0, 0.1, MLP.weight_decay)
    assert values(config, "retrain") == Recipe(512, 2, 0.0, MLP.lr, 0.0)
    assert resolve_recipe(config, IMAGES) == config, "it is resolved once"


def test_a_narrow_mlp_has_no_dropout() -> None:
    for shape in (TABLE, MANY):
        narrow = resolve_recipe(config_of(model={"width": WIDE - 1}), shape)
        assert values(narrow, "profile") == values(narrow) == replace(OTHERS, width=WIDE - 1)
    assert values(resolve_recipe(config_of(model={"width": WIDE}), TABLE)) == replace(MLP, width=WIDE)


def test_many_inputs_have_one_layer_unless_more_are_given() -> None:
    wide = resolve_recipe(config_of(model={"width": WIDE}), MANY)
    assert values(wide) == replace(MLP_OF_MANY_INPUTS, width=WIDE)
    assert values(resolve_recipe(config_of(model={"depth": 2}), MANY)) == MLP
    assert values(resolve_recipe(config_of(model={"depth": 1}), TABLE)) == replace(MLP, depth=1)
    assert values(resolve_recipe(config_of(), (MANY_INPUTS - 1,))) == MLP


def test_the_keys_of_a_recipe_are_kept() -> None:
    assert {key for keys in BY_TRUNK.values() for key in keys} == set(asdict(OTHERS))
    assert all(set(keys) <= set(RESOLVED[section]) for section, keys in BY_TRUNK.items())
    config = config_of()
    others = [trunk for trunk in (*TRUNKS, "mine:Trunk") if trunk not in ("mlp", "cnn")]
    assert {recipe_of(trunk, config.model, IMAGES) for trunk in others} == {OTHERS}
    assert all(getattr(getattr(config, section), key) == "auto" for section, keys in BY_TRUNK.items() for key in keys)


def test_a_run_goes_on_with_the_recipe_that_it_began_with(tmp_path: Path) -> None:
    """Also one of version 0.1, whose config.yaml has the values of then."""
    asked = config_of(model={"trunk": "mlp"})
    of_before = {"lr": OTHERS.lr, "weight_decay": OTHERS.weight_decay}
    model = {"trunk": "mlp", "width": OTHERS.width, "depth": OTHERS.depth, "dropout": OTHERS.dropout}
    run = RunDir(tmp_path)
    run.write_config(config_of(model=model, profile=of_before, retrain=of_before))
    again = asked.resolved_as(run.read_config())
    assert values(resolve_recipe(again, MANY)) == OTHERS
    changed = config_of(model={"trunk": "mlp"}, retrain={"lr": 0.02}).resolved_as(run.read_config())
    assert changed.retrain.lr == 0.02


def test_a_network_without_dropout_is_the_one_of_version_0_1() -> None:
    """The key is later than that version: only another value than none makes another network of it."""
    size = {"trunk": "mlp", "width": 128, "depth": 2}
    without, some = (config_of(model={**size, "dropout": share}) for share in (0.0, 0.25))
    assert "dropout" not in fingerprint_values(without.model)
    assert without.fingerprint(["model"]) != some.fingerprint(["model"])
    assert some.fingerprint(["model"]) == resolve_recipe(config_of(model={**size}), TABLE).fingerprint(["model"])


def test_a_model_is_resolved_by_itself() -> None:
    model = model_of(config_of().model, "mlp", MANY)
    expected = MLP_OF_MANY_INPUTS
    assert (model.width, model.depth, model.dropout) == (expected.width, expected.depth, expected.dropout)
