"""Places that a user gives: not empty; `~` and `~name` stand for home folders, where there are such users."""

from __future__ import annotations

import os
from pathlib import Path

from stg_ray.config.secrets import no_credentials
from stg_ray.errors import InputError

EMPTY = "is empty: expected {} (is a variable of the shell not set?)"
"""What is said of a text that is given and says nothing."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the files in folders of images that are read, in lower case."""

SYSTEM_FOLDERS = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""Folders that systems leave among the user's."""


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


OF_JOBS = "/runtime_resources/working_dir_files/"
"""Where Ray keeps the copies of working directories that jobs were submitted with."""


def check_outlives_job(directory: str) -> None:
    """Refuse a run directory in the working directory of a job, with which Ray deletes it.

    Raises:
        InputError: it is in one.
    """
    if "://" not in directory and OF_JOBS in str(expanded(directory).absolute()):
        raise InputError(
            f"the run directory {directory} is in the job's working directory, a copy that Ray deletes after the job: "
            "give --out an absolute path or a URI that all nodes reach"
        )


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


def is_hidden(name: str) -> bool:
    """Return whether a name is that of a system's or a tool's file: .git, ._1.jpg, __MACOSX, ..."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def leads_back(path: Path) -> bool:
    """Return whether a path is a link to a folder that it is in, and so leads around for ever."""
    if not path.is_symlink():
        return False
    # The folders by which it was reached, through other links, and those in which it really is.
    around = {step.resolve() for step in path.absolute().parents} | set(path.parent.resolve().parents)
    return path.resolve() in around
