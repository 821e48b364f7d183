"""Needs of a local Ray on this machine: a temporary folder with a short path, a home folder, settings that fit."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from stg_ray.errors import InputError

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""Longest path of a socket that the system takes."""
OF_RAY = len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
"""Bytes that Ray adds to the path of the temporary folder for the longest of its sockets."""
SHORT_FOLDER = "/tmp"


def ray_temporary(environment: Mapping[str, str]) -> str:
    """Return the folder in which Ray makes its own: $RAY_TMPDIR, else, on Linux, $TMPDIR, else /tmp."""
    on_linux = environment.get("TMPDIR") if sys.platform.startswith("linux") else None
    return environment.get("RAY_TMPDIR") or on_linux or SHORT_FOLDER


def is_too_long(folder: str) -> bool:
    """Return whether the paths of Ray's sockets in a temporary folder would be too long for the system."""
    return len(os.fsencode(os.path.abspath(folder))) + OF_RAY > SOCKET_BYTES


def private_folder(environment: Mapping[str, str]) -> str | None:
    """Return a folder for Ray's, in the temporary one, that only this user can enter; it is made if need be.

    Ray opens its own folders to all users, again with every worker that it starts, so they need one around them.

    Returns:
        None where its path would be too long for Ray's sockets, or the name is taken by what is not this user's.
    """
    folder = Path(ray_temporary(environment), f"sr-{os.getuid()}").absolute()
    if is_too_long(str(folder)):
        return None
    with suppress(OSError):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        found = folder.lstat()  # not what a link leads to
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            folder.chmod(0o700)
            return str(folder)
    return None


def is_home_writable() -> bool:
    """Return whether Ray can keep a token in the home folder of this user."""
    try:
        home = Path.home()
    except RuntimeError:  # no $HOME, and no entry in /etc/passwd
        return False
    return home != Path("/") and home.is_dir() and os.access(home, os.W_OK | os.X_OK) and not _is_virtual(home)


def _is_virtual(folder: Path) -> bool:
    """Return whether a folder is one of the kernel's, which nobody writes to, whatever its permissions say."""
    return folder.parts[:2] in (("/", "proc"), ("/", "sys"))


def local_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables that make up for what a local Ray would stumble over on this machine.

    A temporary folder with a long path is replaced by /tmp. Without a home folder that can be written to, the token of
    a session is in the environment only, and ends with it.

    Raises:
        InputError: $RAY_TMPDIR is too long, or /tmp cannot be written to.
    """
    settings: dict[str, str] = {}
    temporary = ray_temporary(environment)
    if is_too_long(temporary):
        if environment.get("RAY_TMPDIR") or not os.access(SHORT_FOLDER, os.W_OK | os.X_OK):
            raise InputError(
                f"the path of the temporary folder {temporary} is too long for Ray's sockets (at most "
                f"{SOCKET_BYTES - OF_RAY} bytes): set RAY_TMPDIR to a folder with a shorter one"
            )
        settings["RAY_TMPDIR"] = SHORT_FOLDER
    needs_token = environment.get("RAY_AUTH_MODE", "token").lower() == "token" and not _has_token(environment)
    if needs_token and not is_home_writable():
        settings["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    return settings


def _has_token(environment: Mapping[str, str]) -> bool:
    """Return whether Ray finds a token without making one."""
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    try:
        return (Path.home() / ".ray" / "auth_token").is_file()
    except (RuntimeError, OSError):
        return False


def check_settings(environment: Mapping[str, str]) -> None:
    """Refuse settings of Ray with which a run would hang.

    Raises:
        InputError: Ray Train's second version is switched off.
    """
    value = environment.get("RAY_TRAIN_V2_ENABLED")
    if value is not None and value.lower() not in ("1", "true"):
        raise InputError(
            f"RAY_TRAIN_V2_ENABLED={value} switches off the version of Ray Train that stg_ray trains with: unset it"
        )
