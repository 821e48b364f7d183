"""The settings of a training that depend on the trunk: a width, a depth, a dropout, a learning rate, a weight decay.

`auto`, their default, takes the trunk's recipe as soon as the shape of an input is known. It is kept in config.yaml, so
that a run goes on as it began, whatever a later version recommends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from stg_ray.config.sections import Config
    from stg_ray.config.training import ModelConfig


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Recipe:
    """What `auto` stands for in a network of one kind of trunk."""

    width: int
    depth: int
    dropout: float
    lr: float
    weight_decay: float


OTHERS = Recipe(width=128, depth=2, dropout=0.0, lr=5e-3, weight_decay=1e-4)
"""Of all other trunks: what version 0.1 took for all."""

MLP = Recipe(width=256, depth=2, dropout=0.25, lr=1e-3, weight_decay=1e-2)
"""Of an mlp that is wide enough; jobs/bench/recipe.py compares recipes on the sets of guides/regularisation.md."""

MLP_OF_MANY_INPUTS = replace(MLP, width=512, depth=1)
"""Of an mlp with many inputs, where one wide layer learns more of rare labels than two."""

CNN = Recipe(width=256, depth=2, dropout=0.5, lr=1e-3, weight_decay=1e-2)
"""Of a cnn that is wide enough."""

WIDE = 128
"""Units from which an mlp, or a cnn, has its recipe: narrower ones learn too little, and less yet with dropout. On
emotions, yeast, scene and sider that of the mlp costs 8 units 0.01 to 0.08 of average precision, 32 up to 0.02; 64 are
the same, 128 gain."""

MANY_INPUTS = 64
"""Inputs from which an mlp has one layer: within 0.007 of two layers, or better, on nine sets of 64 to 2,048 inputs,
but not with the 9 of landmine or the 28 of school."""

BY_TRUNK: Mapping[str, tuple[str, ...]] = {
    "model": ("width", "depth", "dropout"),
    "profile": ("lr", "weight_decay"),
    "retrain": ("lr", "weight_decay"),
}
"""Keys whose `auto` is resolved by the trunk, by section."""


def recipe_of(trunk: str, model: ModelConfig, input_shape: tuple[int, ...]) -> Recipe:
    """Return the recipe of a trunk, by its name, the size that is given of it, and the shape of one input."""
    if model.width != "auto" and model.width < WIDE:
        return OTHERS
    if trunk == "mlp":
        return MLP_OF_MANY_INPUTS if math.prod(input_shape) >= MANY_INPUTS and model.depth in ("auto", 1) else MLP
    return CNN if trunk == "cnn" else OTHERS


def model_of(model: ModelConfig, trunk: str, input_shape: tuple[int, ...]) -> ModelConfig:
    """Return the settings of a model with its `auto` replaced by the recipe of `trunk`, the name of the model's."""
    return model.model_copy(update=_resolved(model, "model", recipe_of(trunk, model, input_shape)))


def with_recipe(config: Config, trunk: str, input_shape: tuple[int, ...]) -> Config:
    """Return a configuration with the `auto` of `BY_TRUNK` replaced by the recipe of `trunk`, the name of the model's.

    Example:
        >>> from stg_ray import load_config
        >>> config = load_config({"data": {"npz": "mine.npz"}, "retrain": {"lr": 0.01}})
        >>> config = with_recipe(config, "mlp", (20,))
        >>> config.model.width, config.model.depth, config.profile.lr, config.retrain.lr
        (256, 2, 0.001, 0.01)
    """
    sections, recipe = {}, recipe_of(trunk, config.model, input_shape)
    for name in BY_TRUNK:
        section = getattr(config, name)
        sections[name] = section.model_copy(update=_resolved(section, name, recipe))
    return config.model_copy(update=sections)


def _resolved(section: object, name: str, recipe: Recipe) -> dict[str, Any]:
    return {key: getattr(recipe, key) for key in BY_TRUNK[name] if getattr(section, key) == "auto"}


def as_number(value: Number | Literal["auto"]) -> Number:
    """Return the value of a setting that is resolved by now."""
    assert value != "auto", "resolve_recipe comes before"
    return value
