"""What an affinity of the user's says of itself and returns, looked at before groups are made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from stg_ray.affinities.base import Estimator, Need, Partial, task_names
from stg_ray.artifacts.task_matrix import Kind, TaskMatrix
from stg_ray.errors import InputError, StgRayError
from stg_ray.imports import raised
from stg_ray.tasks import Task


def checked_class(estimator: type[Estimator], name: str) -> type[Estimator]:
    """Return an estimator whose class attributes are those of the contract.

    Raises:
        InputError: `kind`, `about` or `needs` is missing, or is another value than the contract has.
    """
    kind: Any = getattr(estimator, "kind", None)
    if kind not in get_args(Kind):
        raise InputError(f"affinity.methods: {name} has kind = {kind!r}: expected affinity or distance")
    if not isinstance(getattr(estimator, "about", None), str):
        raise InputError(f"affinity.methods: {name} has no about: expected a line for the report, as text")
    needs: Any = estimator.needs
    if isinstance(needs, str) or not np.iterable(needs):
        raise InputError(f"affinity.methods: {name} has needs = {needs!r}: expected a frozenset of names")
    if strange := [need for need in needs if need not in get_args(Need)]:
        known = ", ".join(get_args(Need))
        raise InputError(f"affinity.methods: {name} has {strange[0]!r} among its needs: expected some of {known}")
    return estimator


def combined(estimator: type[Estimator], name: str, partials: Iterable[Partial], tasks: Sequence[Task]) -> TaskMatrix:
    """Return the matrix (K, K) of the tasks in their order, with standard errors: NaN where the estimator gives none.

    Args:
        estimator: of the affinity.
        name: of the affinity, for messages.
        partials: of all units, in their order.
        tasks: the K tasks.

    Raises:
        InputError: the estimator is the user's, and its `combine` fails, or returns something else.
    """
    try:
        matrix: Any = estimator.combine(partials, tasks)
    except (StgRayError, OSError):
        raise
    except Exception as error:
        if estimator.__module__.startswith("stg_ray."):
            raise
        raise InputError(f"combine of {name} was called, and {raised(error)}") from error
    if not isinstance(matrix, TaskMatrix):
        raise InputError(f"combine of {name} returned {type(matrix).__name__}: expected a TaskMatrix")
    if tuple(matrix.tasks) != task_names(tasks):
        raise InputError(
            f"combine of {name} returned a matrix of other tasks, or in another order: expected the names of the tasks "
            "that it was given, in their order"
        )
    values = _numbers(matrix.values, f"the values of combine of {name}")
    if matrix.errors is None:
        return replace(matrix, values=values, errors=np.full(values.shape, np.nan))
    return replace(matrix, values=values, errors=_numbers(matrix.errors, f"the errors of combine of {name}"))


def _numbers(values: Any, title: str) -> np.ndarray:
    """The values (K, K) in float64."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{title} are no numbers: expected (K, K), NaN where there is no value") from error
    if np.isinf(numbers).any():
        raise InputError(f"{title} are infinite for a pair of tasks: expected numbers, NaN where there is no value")
    return numbers
