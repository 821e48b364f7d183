"""Places that a user gives: not empty; `~` and `~name` stand for home folders, where there are such users."""

from __future__ import annotations

import os
from pathlib import Path

from stg_ray.config.secrets import no_credentials
from stg_ray.errors import InputError

EMPTY = "is empty: expected {} (is a variable of the shell not set?)"
"""What is said of a text that is given and says nothing."""


def place(text: str | None) -> str | None:
    """Return the place of a run, a path or a URI, as it is given.

    Raises:
        InputError: it is empty, or holds credentials.

    Example:
        >>> place("runs/mine")
        'runs/mine'
        >>> place("")
        Traceback (most recent call last):
        stg_ray.errors.InputError: the place of the run is empty: expected a path or a URI (is a variable of the shell \
not set?)
    """
    if text is not None and not text.strip():
        raise InputError(f"the place of the run {EMPTY.format('a path or a URI')}")
    return no_credentials(text)


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with `~` or `~name` in its beginning replaced by that user's home folder.

    Raises:
        InputError: there is no such user, or no home folder.

    Example:
        >>> expanded("~nobody-here/a.npz")
        Traceback (most recent call last):
        stg_ray.errors.InputError: '~nobody-here/a.npz': there is no home folder of '~nobody-here': give the whole path
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        text = os.fspath(path)
        user = text.partition("/")[0]
        raise InputError(f"{text!r}: there is no home folder of {user!r}: give the whole path") from error
