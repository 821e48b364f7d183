"""Sizes and digests of the files that a stage left, so that a damaged or exchanged file is never taken for what it was.

A stage's marker holds them. Local files are hashed (SHA-256) when a process first looks at them, and again when their
size, times or inode have changed. An object store names the contents of every object by an ETag: where that is as it
was, the object is; where it is another (a copy in another bucket), the object is read and hashed.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from stg_ray.artifacts.storage import Storage

Item = TypeVar("Item")
Result = TypeVar("Result")

Contents = dict[str, dict[str, Any]]
"""By the file's name: its `size` in bytes, its `sha256` and, on an object store, its `etag`."""

REQUESTS_AT_ONCE = 16
"""Requests to an object store that wait for their answers together."""
CHUNK_BYTES = 2**22

_DIGESTS: dict[tuple[Any, ...], str] = {}
"""SHA-256 by what tells that a file is the same: device, inode, size and times; or place and ETag."""


def contents_of(storage: Storage, names: Iterable[str], without: Iterable[str] = ()) -> Contents:
    """Describe the files of some files and folders of a storage.

    Args:
        storage: the run directory.
        names: files, and folders with all that is below them; those that are not there are left out.
        without: folders below them whose files are left out.
    """
    left_out = [PurePosixPath(storage.path(name)) for name in without]
    paths = [PurePosixPath(path) for name in names for path in _files(storage, name)]
    kept = sorted(
        str(path.relative_to(PurePosixPath(storage.root)))
        for path in paths
        if not path.name.startswith(".tmp-") and not any(folder in path.parents for folder in left_out)
    )
    return dict(zip(kept, _each(storage, lambda name: _describe(storage, name), kept), strict=True))


def damaged_file(storage: Storage, recorded: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the name of a file that is not what was recorded of it, or is gone; None if all are as they were."""
    return next((name for name, _ in damages(storage, recorded)), None)


def damages(
    storage: Storage, recorded: Mapping[str, Mapping[str, Any]], *, thorough: bool = False
) -> Iterator[tuple[str, str]]:
    """Yield the files that are not what was recorded of them, and what is wrong with each.

    Args:
        storage: the run directory.
        recorded: what `contents_of` returned.
        thorough: read objects of a store though their ETags are as they were.
    """

    def look(item: tuple[str, Mapping[str, Any]]) -> str | None:
        return _damage(storage, *item, thorough=thorough)

    for name, damage in zip(recorded, _each(storage, look, recorded.items()), strict=True):
        if damage is not None:
            yield name, damage


def _each(storage: Storage, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Do the work for each item: of an object store, which takes its time to answer, for many at once."""
    if storage.is_local:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        yield from pool.map(work, items)


def _files(storage: Storage, name: str) -> list[str]:
    info = storage.fs.get_file_info(storage.path(name))
    if info.type == fs.FileType.File:
        return [info.path]
    below = storage.fs.get_file_info(fs.FileSelector(storage.path(name), allow_not_found=True, recursive=True))
    return [own.path for own in below if own.type == fs.FileType.File]


def _describe(storage: Storage, name: str) -> dict[str, Any]:
    with storage.fs.open_input_file(storage.path(name)) as file:
        etag = None if storage.is_local else _etag(file)
        described = {"size": file.size(), "sha256": _digest(storage, name, etag)}
    return described if etag is None else described | {"etag": etag}


def _damage(storage: Storage, name: str, expected: Mapping[str, Any], *, thorough: bool) -> str | None:
    """Return what is wrong with a file, None if nothing is."""
    try:
        with storage.fs.open_input_file(storage.path(name)) as file:
            size, etag = file.size(), None if storage.is_local else _etag(file)
    except OSError:
        if storage.fs.get_file_info(storage.path(name)).type == fs.FileType.File:
            raise  # it cannot be read now: that says nothing of what it holds
        return "is missing"
    if size != expected.get("size"):
        return f"has {size:,} bytes, not {expected.get('size')}"
    if etag is not None and etag == expected.get("etag") and not thorough:
        return None
    if "sha256" in expected and _digest(storage, name, None if thorough else etag) != expected["sha256"]:
        return "holds other bytes"
    return None


def or_alone(stage: str, uri: str) -> str:
    """Return, behind the command that makes all of a run, the one that makes a stage alone; the parts have none."""
    return "" if stage == "parts" else f", or stg-ray {stage} {shlex.quote(uri)}"


def _etag(file: pa.NativeFile) -> str | None:
    """Return the ETag of an object; None where the store has none."""
    metadata = pa.KeyValueMetadata(file.metadata() or {})
    tags = [value for key, value in metadata.items() if key.lower() == b"etag"]
    return tags[0].decode().strip('"') if tags else None


def _digest(storage: Storage, name: str, etag: str | None) -> str:
    """Hash a file, unless this process has hashed it as it is now."""
    key: tuple[Any, ...] | None
    if storage.is_local:
        state = os.stat(storage.path(name))
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    else:
        key = (storage.uri, name, etag) if etag is not None else None
    if key is not None and key in _DIGESTS:
        return _DIGESTS[key]
    found = hashlib.sha256()
    with storage.fs.open_input_stream(storage.path(name)) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            found.update(chunk)
    if key is not None:
        _DIGESTS[key] = found.hexdigest()
    return found.hexdigest()
