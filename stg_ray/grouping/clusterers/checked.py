"""What a clusterer returns, looked at before it becomes groups: NaN and other shapes would be groups, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stg_ray.errors import InputError
from stg_ray.grouping.graph import TaskGraph
from stg_ray.imports import raised

if TYPE_CHECKING:
    from stg_ray.grouping.clusterers.base import Clusterer

Data = TypeVar("Data")


def checked_memberships(clusterer: Clusterer[Data], data: Data, numbers: Sequence[int]) -> list[np.ndarray]:
    """Return a clusterer's memberships (K, G) for each number n of groups, G from 1 to n.

    Raises:
        InputError: it is a class of the user's that raises an exception, or what it returns are no such arrays of
            finite numbers from 0 up, which are not all 0 for any task.
    """
    kind = type(clusterer)
    name = f"{kind.__module__}:{kind.__qualname__}"
    try:
        returned: Any = clusterer.memberships(data, numbers)
        found = list(returned) if np.iterable(returned) else returned
    except InputError:
        raise
    except Exception as error:
        if kind.__module__.startswith("stg_ray."):
            raise
        raise InputError(f"memberships of {name} was called, and {raised(error)}") from error
    if not isinstance(found, list) or len(found) != len(numbers):
        what = f"{len(found)} values" if isinstance(found, list) else type(found).__name__
        raise InputError(
            f"memberships of {name} returned {what}: expected a list of {len(numbers)}, one a number of groups"
        )
    n_tasks = len(data.affinity) if isinstance(data, TaskGraph) else None
    return [_checked(each, n, n_tasks, name) for each, n in zip(found, numbers, strict=True)]


def _checked(returned: Any, n_groups: int, n_tasks: int | None, name: str) -> np.ndarray:
    """The membership (K, G) as an array of numbers."""
    expected = f"an array ({'K' if n_tasks is None else n_tasks}, {n_groups}) for {n_groups} groups of the tasks"
    try:
        membership = np.asarray(returned, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"memberships of {name} has {type(returned).__name__} in its list: expected {expected}"
        ) from error
    shape = membership.shape
    if len(shape) != 2 or n_tasks not in (None, shape[0]) or not 1 <= shape[1] <= n_groups:
        raise InputError(
            f"memberships of {name} has an array of the shape {shape} in its list: expected {expected} (fewer columns "
            "where fewer can be told apart)"
        )
    if not (np.isfinite(membership).all() and (membership >= 0).all() and membership.any(axis=1).all()):
        raise InputError(
            f"memberships of {name} are NaN, infinite, negative, or all 0 for a task: expected shares from 0 up, with "
            "one above 0 for each task"
        )
    return membership
