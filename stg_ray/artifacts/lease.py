"""Leases on a folder: one process owns it at a time, a second one is refused, and one that has lost it stops.

A local folder is owned by locks, which the system drops with the process. An object store has neither locks nor,
through pyarrow, conditional writes. There an object names the owner, who renews it; whoever finds it watches by a clock
of their own whether it still changes, so the clocks of two machines need not agree. Nothing keeps an owner that was
taken for dead (asleep, or cut off from the store) from waking up: so owners look whether they still are before they
write a marker, and markers name their owner (see `run_dir`).
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from stg_ray.artifacts.storage import Storage
from stg_ray.errors import InputError, StgRayError

LEASE_FILE = ".lease"
LEASE_SECONDS = 30.0
"""A lease on an object store that does not change for this long is dead."""
CLAIM_SECONDS = 1.0
"""Time after which the claim that stands has the lease."""


class Lease:
    """The ownership of a folder by this process.

    Attributes:
        token: names it, and no other.
    """

    def __init__(self, storage: Storage, is_lost: Callable[[], bool]) -> None:
        self.storage = storage
        self.token = uuid.uuid4().hex
        self._is_lost = is_lost

    def check(self) -> None:
        """Refuse to write what others would believe, once the folder is somebody else's.

        Raises:
            StgRayError: another process has taken the folder over, or the lease was removed.
        """
        if self._is_lost():
            raise StgRayError(
                f"{self.storage.uri} is not this process's any more: its {LEASE_FILE} was removed, or taken over by "
                "another process while this one did not answer; this one stops here: give the same command again when "
                "the other is done"
            )


@contextmanager
def file_lease(storage: Storage) -> Iterator[Lease]:
    """Own a local folder by file locks, which the system drops with the process, however it ends.

    One lock is on the lease file, which works on network file systems too; one is on the folder itself, where that is
    possible, so that removing the file lets nobody in.

    Raises:
        InputError: another process owns the folder.
    """
    import fcntl

    descriptor = _open_lease_file(storage)
    folder = os.open(storage.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_folder_locked = _lock_folder(folder)
        except BlockingIOError:
            raise _in_use(storage, _parse_owner(os.pread(descriptor, 4096, 0))) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_this_process()).encode(), 0)
        at, locked = (storage.root, folder) if is_folder_locked else (storage.path(LEASE_FILE), descriptor)
        yield Lease(storage, lambda: not _is_at(at, locked))
    finally:
        os.close(folder)
        os.close(descriptor)


def _lock_folder(descriptor: int) -> bool:
    """Lock a folder, and return whether its file system has such locks: NFS has none.

    Raises:
        BlockingIOError: another process has locked it.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _is_at(path: str, descriptor: int) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
    return InputError(
        f"{path} is no plain file, and would be written to: remove it, or choose another directory (--out)"
    )


@contextmanager
def object_lease(storage: Storage) -> Iterator[Lease]:
    """Own a folder on an object store by an object that a thread renews.

    Raises:
        InputError: another process owns the folder, and renewed its lease while this one looked.
    """
    _wait_until_free(storage)
    beats = 0
    own = Lease(storage, lambda: _current_owner(storage).get("token") != own.token)
    claim = _this_process() | {"machine": _machine(), "token": own.token}
    storage.write_json(LEASE_FILE, claim | {"beats": beats})
    time.sleep(CLAIM_SECONDS)  # of two processes that claim it at the same moment, the one whose claim stands has it
    owner = _current_owner(storage)
    if owner.get("token") != own.token:
        raise _in_use(storage, owner)
    ended = threading.Event()

    main = threading.main_thread()
    in_main = threading.current_thread() is main

    def renew() -> None:
        nonlocal beats
        while not ended.wait(LEASE_SECONDS / 3):
            try:
                own.check()
                beats += 1
                storage.write_json(LEASE_FILE, claim | {"beats": beats})
            except OSError:
                continue
            except StgRayError:
                if in_main:  # what it would still do is another's now
                    signal.pthread_kill(main.ident or 0, signal.SIGINT)
                return

    thread = threading.Thread(target=renew, daemon=True, name="stg_ray-lease")
    thread.start()
    try:
        yield own
    except KeyboardInterrupt:
        with suppress(OSError):
            own.check()
        raise
    finally:
        ended.set()
        thread.join()
        with suppress(OSError, StgRayError):
            own.check()
            storage.delete(LEASE_FILE)


def _wait_until_free(storage: Storage) -> None:
    """Wait until a lease is seen to be dead: its process is not there any more, or nobody renews it.

    Raises:
        InputError: its owner is alive.
    """
    first = _current_owner(storage)
    if not first:
        return
    if _is_of_this_machine(first):
        if _is_alive(first):
            raise _in_use(storage, first)
        return
    began = time.monotonic()
    while time.monotonic() - began < LEASE_SECONDS:
        time.sleep(min(1.0, LEASE_SECONDS / 10))
        now = _current_owner(storage)
        if not now:
            return
        if now != first:
            raise _in_use(storage, now)


def _is_of_this_machine(owner: dict[str, Any]) -> bool:
    return owner.get("machine") is not None and owner["machine"] == _machine()


def _is_alive(owner: dict[str, Any]) -> bool:
    """Return whether an owner on this machine is still there; its number may have been given to another process."""
    try:
        return bool(psutil.Process(int(owner["pid"])).create_time() == owner["started"])
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False


def _machine() -> str | None:
    """Name this machine since its last start, and the processes that this one sees there (containers have their own).

    Returns:
        None where the system does not say: then nothing can be known of other processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _in_use(storage: Storage, owner: dict[str, Any]) -> InputError:
    who = f"process {owner['pid']} on {owner['host']} since {owner['since']}" if "pid" in owner else "another process"
    return InputError(f"{storage.uri} is in use by {who}: wait for it, stop it, or choose another directory (--out)")


def _this_process() -> dict[str, Any]:
    own = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    return own | {"started": psutil.Process().create_time()}


def _current_owner(storage: Storage) -> dict[str, Any]:
    """Return what the owner wrote; nothing where there is none."""
    try:
        return _parse_owner(storage.read_bytes(LEASE_FILE))
    except FileNotFoundError:
        return {}


def _parse_owner(data: bytes) -> dict[str, Any]:
    """Parse what an owner wrote; nothing is known of an owner that has not finished writing."""
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}
