"""The settings of a training that depend on the trunk: a width, a dropout, a learning rate and a weight decay.

`auto`, their default, takes the trunk's recipe as soon as the shape of an input is known. It is kept in config.yaml, so
that a run goes on as it began, whatever a later version recommends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from stg_ray.config.sections import Config
    from stg_ray.config.training import ModelConfig


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Recipe:
    """What `auto` stands for in a network of one kind of trunk."""

    width: int
    dropout: float
    lr: float
    weight_decay: float


OTHERS = Recipe(width=128, dropout=0.0, lr=5e-3, weight_decay=1e-4)
"""Of all other trunks: what version 0.1 took for all."""

WIDE_MLP = Recipe(width=256, dropout=0.25, lr=1e-3, weight_decay=1e-2)
"""Of an mlp that is wide enough; jobs/bench/recipe.py compares twelve of them on eight sets."""

WIDE = 128
"""Units from which an mlp has that recipe: narrower ones learn too little, and less yet with dropout. On emotions,
yeast, scene and sider it costs 8 units 0.01 to 0.08 of average precision, 32 up to 0.02; 64 are the same, 128 gain."""

BY_TRUNK: Mapping[str, tuple[str, ...]] = {
    "model": ("width", "dropout"),
    "profile": ("lr", "weight_decay"),
    "retrain": ("lr", "weight_decay"),
}
"""Keys whose `auto` is resolved by the trunk, by section."""


def recipe_of(trunk: str, width: int | Literal["auto"]) -> Recipe:
    """Return the recipe of a trunk, by its name and its width."""
    return WIDE_MLP if trunk == "mlp" and (width == "auto" or width >= WIDE) else OTHERS


def model_of(model: ModelConfig, trunk: str) -> ModelConfig:
    """Return the settings of a model with its `auto` replaced by the recipe of `trunk`, the name of the model's."""
    return model.model_copy(update=_resolved(model, "model", recipe_of(trunk, model.width)))


def with_recipe(config: Config, trunk: str) -> Config:
    """Return a configuration with the `auto` of `BY_TRUNK` replaced by the recipe of `trunk`, the name of the model's.

    Example:
        >>> from stg_ray import load_config
        >>> config = with_recipe(load_config({"data": {"npz": "mine.npz"}, "retrain": {"lr": 0.01}}), "mlp")
        >>> config.model.width, config.profile.lr, config.retrain.lr
        (256, 0.001, 0.01)
    """
    sections, recipe = {}, recipe_of(trunk, config.model.width)
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
