"""The settings that tuning compares: which there are, their values, and the draws of them."""

from __future__ import annotations

import math

import numpy as np

from stg_ray.config import Config
from stg_ray.config.tuning import RANGES, TUNED, Space, is_range
from stg_ray.errors import InputError
from stg_ray.models.trunks import trunk_name
from stg_ray.seeds import Stream, generator

Settings = dict[str, int | float]
"""Values by the names in `config.tuning.TUNED`."""

DEFAULT: Space = {
    "lr": [5e-4, 2e-2],
    "weight_decay": [1e-5, 1e-1],
    "batch_size": [32, 64, 128, 256],
    "dropout": [0.0, 0.6],
    "width": [64, 128, 256, 512],
    "depth": [1, 2, 3],
}
"""The space where none is given, but for settings that the trunk does not have or that its weights decide."""

OF_TRUNKS = {"width": ("linear", "mlp", "cnn"), "depth": ("mlp",)}
"""The trunks that have a setting; all have the others."""

TRIES = 100
"""Draws of a trial until it is another than those before; a small space has no more."""


def space_of(config: Config, input_shape: tuple[int, ...]) -> Space:
    """Return the values that are searched, by the setting.

    Raises:
        InputError: the space names a setting that the trunk does not have, or that its weights decide.
    """
    trunk, has_weights = trunk_name(config.model, input_shape), config.model.weights is not None
    missing = [key for key, trunks in OF_TRUNKS.items() if has_weights or trunk not in trunks]
    if stray := [key for key in config.tune.space if key in missing]:
        why = "model.weights decides" if has_weights else f"the trunk {trunk} does not have"
        raise InputError(f"tune.space has {stray[0]}, which {why}: leave it out")
    return config.tune.space or {key: values for key, values in DEFAULT.items() if key not in missing}


def configured(config: Config, space: Space) -> Settings:
    """Return the values as configured, of the settings that are searched."""
    return {key: getattr(getattr(config, TUNED[key][0]), key) for key in space}


def draw_trials(space: Space, given: Settings, n_trials: int, seed: int) -> list[Settings]:
    """Return the settings of each trial: the first are those as given, the others are drawn and all different.

    A trial's draw depends on its number and the seed alone, so more trials begin like fewer.

    Args:
        space: values by the setting.
        given: the values as configured.
        n_trials: their number; a small space may have fewer.
        seed: of the run.
    """
    trials = [given]
    for number in range(1, n_trials):
        rng = generator(Stream.TUNING, seed, number)
        draws = ({key: _draw(key, values, rng) for key, values in space.items()} for _ in range(TRIES))
        if (new := next((draw for draw in draws if draw not in trials), None)) is None:
            break
        trials.append(new)
    return trials


def _draw(key: str, values: list[int | float], rng: np.random.Generator) -> int | float:
    """Draw a value: of a range uniformly on its scale, to three digits; else one of the values."""
    if not is_range(key, values):
        return values[int(rng.integers(len(values)))]
    low, high = values
    if RANGES[key] == "log":
        low, high = math.log(low), math.log(high)
    drawn = float(rng.uniform(low, high))
    return float(f"{math.exp(drawn) if RANGES[key] == 'log' else drawn:.3g}")


def sizes_of(config: Config, input_shape: tuple[int, ...]) -> list[Settings]:
    """Return the smallest and the largest size of a trunk that tuning reaches; none where sizes are not tuned.

    Raises:
        InputError: the space names a setting that the trunk does not have.
    """
    space = space_of(config, input_shape) if config.tune.trials else {}
    sizes = [key for key in OF_TRUNKS if key in space]
    return [{key: end(space[key]) for key in sizes} for end in (min, max)] if sizes else []
