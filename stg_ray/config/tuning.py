"""The section of a configuration about tuning, and the settings that it may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, field_validator

from stg_ray.config.section import Section
from stg_ray.config.training import ModelConfig, TrainingConfig
from stg_ray.errors import unknown

if TYPE_CHECKING:
    from stg_ray.config.sections import Config

MOST_TRIALS = 10_000
"""More than anybody waits for."""

TUNED: dict[str, tuple[str, ...]] = {
    "lr": ("profile", "retrain"),
    "weight_decay": ("profile", "retrain"),
    "batch_size": ("profile", "retrain"),
    "dropout": ("model",),
    "width": ("model",),
    "depth": ("model",),
}
"""The sections in which each setting that may be tuned stands."""

RANGES = {"lr": "log", "weight_decay": "log", "dropout": "linear"}
"""The scale of settings whose space may be a range."""

Space = dict[str, list[int | float]]


class TuneConfig(Section):
    """The search for settings of the network of all tasks, which the profile and all plans then use."""

    trials: Annotated[int, Field(ge=0, le=MOST_TRIALS)] = 0
    """Number of configurations that are compared on validation rows before the profile, the one as given among them; 0:
    none, nothing is tuned. Each is trained for a fraction of the epochs, the best third goes on, and so forth; as given
    it is in every round, so that what is found is at least as good on validation rows."""
    space: Space = {}
    """Values to search, by the setting: lr, weight_decay and batch_size (of profile and retrain alike), dropout, width
    and depth (of model); all others stay as configured. Two numbers of lr, weight_decay or dropout are the ends of a
    range, from which values are drawn, for lr and weight_decay on a log scale; every other list holds the values
    themselves: `{lr: [1e-4, 1e-2], width: [64, 128, 256], dropout: [0, 0.25, 0.5]}`. By default lr 0.0005 to 0.02,
    weight_decay 1e-5 to 0.1, dropout 0 to 0.6, batch_size 32, 64, 128 or 256, and, of trunks that have them, width 64,
    128, 256 or 512 and depth 1, 2 or 3."""

    @field_validator("trials")
    @classmethod
    def _something_to_compare(cls, trials: int) -> int:
        if trials == 1:
            raise ValueError("one trial is the configuration as given: expected 0 (nothing is tuned), or at least 2")
        return trials

    @field_validator("space")
    @classmethod
    def _valid_values(cls, space: Space) -> Space:
        for key, values in space.items():
            if key not in TUNED:
                raise ValueError(unknown(key, TUNED, "setting to tune"))
            if not values:
                raise ValueError(f"{key} has no values: leave it out, or name some")
            section: Any = ModelConfig if TUNED[key] == ("model",) else TrainingConfig
            for value in values:
                try:
                    section.model_validate({key: value})
                except ValidationError as error:
                    raise ValueError(f"{key} has {value!r}: {error.errors()[0]['msg']}") from error
            if is_range(key, values):
                low, high = values
                if low >= high:
                    raise ValueError(f"{key} is the range [{low}, {high}]: expected the lower end first")
                if RANGES[key] == "log" and low <= 0:
                    raise ValueError(f"{key} is a range on a log scale from {low}: expected an end above 0")
        return space


def is_range(key: str, values: list[int | float]) -> bool:
    """Return whether the values of a setting are the ends of a range."""
    return key in RANGES and len(values) == 2


def with_tuned(config: Config, found: Mapping[str, int | float]) -> Config:
    """Return a configuration with other values of settings of `TUNED`, in every section where they stand.

    Example:
        >>> from stg_ray import load_config
        >>> config = with_tuned(load_config("digits"), {"lr": 0.01, "width": 64})
        >>> config.profile.lr, config.retrain.lr, config.model.width
        (0.01, 0.01, 64)
    """
    changes: dict[str, dict[str, int | float]] = {}
    for key, value in found.items():
        for section in TUNED[key]:
            changes.setdefault(section, {})[key] = value
    sections = {name: getattr(config, name).model_copy(update=own) for name, own in changes.items()}
    return config.model_copy(update=sections)


def as_all_tasks(config: Config) -> Config:
    """Return a configuration whose networks are trained as the profile is: what decides the training is taken from
    there, and where it runs from the section of the networks."""
    training = {key: getattr(config.profile, key) for key in TrainingConfig.model_fields}
    return config.model_copy(update={"retrain": config.retrain.model_copy(update=training)})
