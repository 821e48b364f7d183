"""Sizes and digests of the files that a stage left, so that a damaged or exchanged file is never taken for what it was.

A stage's marker holds them. Local files are hashed (SHA-256) when a process first looks at them, and again when their
size, time or inode has changed; of an object store, which keeps checksums of its own, the sizes are compared.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from pyarrow import fs

from stg_ray.artifacts.storage import Storage

Contents = dict[str, dict[str, Any]]
"""By the file's name: its `size` in bytes and, of local files, its `sha256`."""

_DIGESTS: dict[tuple[int, int, int, int], str] = {}
"""By device, inode, size and time of modification."""


def contents_of(storage: Storage, names: Iterable[str], without: Iterable[str] = ()) -> Contents:
    """Describe the files of some files and folders of a storage.

    Args:
        storage: the run directory.
        names: files, and folders with all that is below them; those that are not there are left out.
        without: folders below them whose files are left out.
    """
    left_out = [PurePosixPath(storage.path(name)) for name in without]
    found: Contents = {}
    for name in names:
        for info in _files(storage, name):
            path = PurePosixPath(info.path)
            if not path.name.startswith(".tmp-") and not any(folder in path.parents for folder in left_out):
                found[str(path.relative_to(PurePosixPath(storage.root)))] = _describe(storage, info)
    return dict(sorted(found.items()))


def damaged_file(storage: Storage, recorded: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the name of a file that is not what was recorded of it, or is gone; None if all are as they were."""
    for name, expected in recorded.items():
        info = storage.fs.get_file_info(storage.path(name))
        if info.type != fs.FileType.File or info.size != expected.get("size"):
            return name
        if "sha256" in expected and storage.is_local and _digest(info.path) != expected["sha256"]:
            return name
    return None


def _files(storage: Storage, name: str) -> list[fs.FileInfo]:
    info = storage.fs.get_file_info(storage.path(name))
    if info.type == fs.FileType.File:
        return [info]
    below = storage.fs.get_file_info(fs.FileSelector(storage.path(name), allow_not_found=True, recursive=True))
    return [own for own in below if own.type == fs.FileType.File]


def _describe(storage: Storage, info: fs.FileInfo) -> dict[str, Any]:
    size = {"size": info.size}
    return size | {"sha256": _digest(info.path)} if storage.is_local else size


def _digest(path: str) -> str:
    """Hash a local file, unless this process has hashed it as it is now."""
    with open(path, "rb") as file:
        state = os.fstat(file.fileno())
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        if key not in _DIGESTS:
            _DIGESTS[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return _DIGESTS[key]
