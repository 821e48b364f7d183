"""The arguments of `sr.group`, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from stg_ray.config import Config
from stg_ray.config.explaining import explained
from stg_ray.config.grouping import GroupingConfig
from stg_ray.errors import InputError
from stg_ray.shown import counted, plain
from stg_ray.tasks.conditions import Conditions

T = TypeVar("T")


def settings_of(seed: int, **settings: Any) -> GroupingConfig:
    """Return arguments as the settings of the section `grouping`: what a file may not say, they may not either.

    Args:
        seed: of random starts and resamples.
        settings: by their names in the section; a budget may be `Conditions`, and its tasks positions.

    Raises:
        InputError: a value that such a setting does not take, or two that do not go together.
    """
    budget = settings.get("budget")
    if isinstance(budget, Conditions):
        settings["budget"] = {}
    elif isinstance(budget, Mapping):
        settings["budget"] = {key: budget[key] for key in budget if key not in ("together", "apart")}
    try:
        return Config.model_validate({"data": {"npz": "in memory"}, "seed": seed, "grouping": settings}).grouping
    except ValidationError as error:
        raise InputError(explained(error)) from error


def check_n_groups(settings: GroupingConfig, n_tasks: int) -> None:
    """Check the number of groups, or where it is left to auto the fewest, before anything runs.

    Raises:
        InputError: fewer than 2 tasks, or more groups than tasks.
    """
    if n_tasks < 2:
        raise InputError(f"there {'is' if n_tasks else 'are'} {counted(n_tasks, 'task')}: grouping needs at least 2")
    number, setting, otherwise = settings.groups, "groups", ", or auto"
    if number == "auto":
        number, setting, otherwise = settings.min_groups, "min_groups", ""
    if number > n_tasks:
        raise InputError(
            f"grouping.{setting}={number} but there are {n_tasks} tasks: expected 1 to {n_tasks}{otherwise}"
        )


def one_each(values: Sequence[T] | None, name: str, n_matrices: int) -> list[T] | None:
    """Return what is given for each matrix; None where nothing is.

    Raises:
        InputError: it is no list of as many values.
    """
    if values is None:
        return None
    is_list = isinstance(values, list | tuple | np.ndarray)
    if not is_list or len(values) != n_matrices:
        found = f"has {counted(len(values), 'value')}" if is_list else f"is a {type(values).__name__}"
        raise InputError(f"{name} {found}: expected a list with one for each of the {n_matrices} matrices, in order")
    return list(values)


def weights_of(weights: Sequence[float] | None, n_matrices: int) -> list[float] | None:
    """Return the weights of the matrices; None where all count the same.

    Raises:
        InputError: there is not one for each matrix, one is negative or no number, or all are 0.
    """
    given = one_each(weights, "weights", n_matrices)
    if given is None:
        return None
    for weight in given:
        is_number = isinstance(weight, int | float | np.number)
        if not (is_number and 0 <= weight < math.inf):
            raise InputError(f"weights has {plain(weight)}: expected numbers of 0 or more")
    if not any(given):
        raise InputError("the weights of all matrices are 0: give at least one of them a larger one")
    return given


def arrays_of(
    arrays: Sequence[np.ndarray | None] | None, name: str, n_matrices: int, shape: tuple[int | None, ...]
) -> list[np.ndarray | None] | None:
    """Return the arrays of the matrices; None where there are none.

    Args:
        arrays: for each matrix an array, or None.
        name: of the argument, for errors.
        n_matrices: number of matrices.
        shape: of each array; None of any length.

    Raises:
        InputError: there is not one for each matrix, or one has another shape.
    """
    given = one_each(arrays, name, n_matrices)
    for array in given or ():
        found = shape if array is None else np.shape(array)
        if len(found) != len(shape) or any(n not in (own, None) for own, n in zip(found, shape, strict=True)):
            wanted = ", ".join("any number" if n is None else str(n) for n in shape)
            raise InputError(f"{name} has an array of the shape {found}: expected ({wanted})")
    return given
