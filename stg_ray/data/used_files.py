"""Files that cells of a table name, gathered while a task set is read: the configuration does not name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_USED: ContextVar[list[Path] | None] = ContextVar("used", default=None)


@contextmanager
def used_files() -> Iterator[list[Path]]:
    """Gather the files that are told to `uses` in a `with` block.

    Example:
        >>> with used_files() as used:
        ...     uses(Path("/images/1.png"))
        >>> [path.name for path in used]
        ['1.png']
    """
    used: list[Path] = []
    token = _USED.set(used)
    try:
        yield used
    finally:
        _USED.reset(token)


def uses(path: Path) -> None:
    """Take note of a file, where somebody asks."""
    used = _USED.get()
    if used is not None:
        used.append(path.absolute())
