"""The settings `data.tasks`, which hold for every task set that is made while its source is loaded.

A source, be it a file or a function of the user's, calls `TaskSet.from_arrays`, which tells kinds; it need not know of
the settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from stg_ray.tasks.columns import Marks
from stg_ray.tasks.frames import by_pattern
from stg_ray.tasks.task import TaskKind


@dataclass(frozen=True)
class TaskSettings:
    """Facts about tasks, by their names or patterns such as `y_*`.

    Attributes:
        kinds: kinds of tasks that are not to be told from the labels.
        missing: values that mark missing labels; an empty list where no value does.
        drops_empty: whether tasks without a label are dropped instead of refused.
        makes_split: whether the split that comes with the data does not matter, as another is made.
    """

    kinds: Mapping[str, TaskKind]
    missing: Mapping[str, Marks]
    drops_empty: bool = False
    makes_split: bool = False


NO_SETTINGS = TaskSettings({}, {})
_current: ContextVar[TaskSettings] = ContextVar("task_settings", default=NO_SETTINGS)


@contextmanager
def task_settings(settings: TaskSettings) -> Iterator[None]:
    """Apply settings to the task sets that are made in a `with` block."""
    token = _current.set(settings)
    try:
        yield
    finally:
        _current.reset(token)


def current_settings() -> TaskSettings:
    """Return the settings that hold now."""
    return _current.get()


def with_settings(
    names: Sequence[str], kinds: list[TaskKind | None], missing: list[Marks | None]
) -> tuple[list[TaskKind | None], list[Marks | None]]:
    """Return kinds and marks of missing labels with the settings on top.

    Raises:
        InputError: a setting names no task.
    """
    settings = _current.get()
    if settings.kinds:
        given = by_pattern(settings.kinds, names, "data.tasks")
        kinds = [new or old for new, old in zip(given, kinds, strict=True)]
    if settings.missing:
        marks = by_pattern(settings.missing, names, "data.tasks")
        missing = [old if new is None else new for new, old in zip(marks, missing, strict=True)]
    return kinds, missing
