"""Paths that a user gives: `~` and `~name` stand for home folders, where there are such users."""

from __future__ import annotations

import os
from pathlib import Path

from stg_ray.errors import InputError


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
