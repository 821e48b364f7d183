"""Leases on a folder: one process owns it at a time, and a second one is refused."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from stg_ray.artifacts.storage import Storage
from stg_ray.errors import InputError

LEASE_FILE = ".lease"
LEASE_SECONDS = 30.0
"""A lease on an object store that was not renewed for this long is dead."""


@contextmanager
def file_lease(storage: Storage) -> Iterator[None]:
    """Own a local folder by a file lock, which the system drops with the process, however it ends.

    Raises:
        InputError: another process owns the folder.
    """
    import fcntl

    descriptor = _open_lease_file(storage)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _parse_owner(os.read(descriptor, 4096))
            raise _in_use(storage, owner) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open_lease_file(storage: Storage) -> int:
    """Open the lease file, which must be a plain file: a link could lead to a file of somebody else's.

    Returns:
        Its descriptor.

    Raises:
        InputError: there is a link, a folder or a device in its place.
    """
    path = storage.path(LEASE_FILE)
    try:
        # Without O_NONBLOCK a pipe in its place would be waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_plain_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _no_plain_file(path)
    return descriptor


def _no_plain_file(path: str) -> InputError:
    return InputError(f"{path} is no plain file, and would be written to: remove it, or choose another --out")


@contextmanager
def object_lease(storage: Storage) -> Iterator[None]:
    """Own a folder on an object store, which has no locks, by an object that a thread renews.

    Raises:
        InputError: another process owns the folder, and renewed its lease within the last `LEASE_SECONDS`.
    """
    claim = _this_process() | {"token": uuid.uuid4().hex}
    if storage.exists(LEASE_FILE):
        owner = _current_owner(storage)
        if time.time() - owner.get("renewed", 0) < LEASE_SECONDS:
            raise _in_use(storage, owner)
    storage.write_json(LEASE_FILE, claim | {"renewed": time.time()})
    time.sleep(1)  # of two processes that claim it at the same moment, the one whose claim stands has it
    if _current_owner(storage).get("token") != claim["token"]:
        raise _in_use(storage, _current_owner(storage))
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE_SECONDS / 3):
            with suppress(OSError):
                if _current_owner(storage).get("token") == claim["token"]:
                    storage.write_json(LEASE_FILE, claim | {"renewed": time.time()})

    thread = threading.Thread(target=renew, daemon=True, name="stg_ray-lease")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if _current_owner(storage).get("token") == claim["token"]:
            storage.delete(LEASE_FILE)


def _in_use(storage: Storage, owner: dict[str, Any]) -> InputError:
    who = f"process {owner['pid']} on {owner['host']} since {owner['since']}" if "pid" in owner else "another process"
    return InputError(f"{storage.uri} is in use by {who}: wait for it, stop it, or choose another directory with --out")


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _current_owner(storage: Storage) -> dict[str, Any]:
    return _parse_owner(storage.read_bytes(LEASE_FILE))


def _parse_owner(data: bytes) -> dict[str, Any]:
    """Parse what an owner wrote; nothing is known of an owner that has not finished writing."""
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
