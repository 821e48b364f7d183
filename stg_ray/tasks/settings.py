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
from stg_ray.tasks.frames import Value, by_pattern
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
_columns: ContextVar[Mapping[str, str]] = ContextVar("columns", default={})  # noqa: B039  it is never written to


@contextmanager
def task_settings(settings: TaskSettings) -> Iterator[None]:
    """Apply settings to the task sets that are made in a `with` block."""
    token = _current.set(settings)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def named_by_columns(columns: Mapping[str, str]) -> Iterator[None]:
    """Let settings also name tasks by their columns in a `with` block: `y_age` where the task is `age`.

    Args:
        columns: columns of a table by the names of their tasks.
    """
    token = _columns.set(columns)
    try:
        yield
    finally:
        _columns.reset(token)


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
        kinds = [new or old for new, old in zip(_told(settings.kinds, names), kinds, strict=True)]
    if settings.missing:
        marks = _told(settings.missing, names)
        missing = [old if new is None else new for new, old in zip(marks, missing, strict=True)]
    return kinds, missing


def _told(values: Mapping[str, Value], names: Sequence[str]) -> list[Value | None]:
    """Return what settings say of each task: by its name, else by its column's."""
    columns = _columns.get()
    others = [columns.get(name, name) for name in names]
    found = by_pattern(values, [*names, *others], "data.tasks")
    own, of_columns = found[: len(names)], found[len(names) :]
    return [new if old is None else old for old, new in zip(own, of_columns, strict=True)]
