"""Forks the workers of a local Ray from a process that has imported what they need.

A worker of Ray's is a new Python that imports Ray, torch and this package: two to four seconds of a CPU, for each actor
and each trial. This process imports them once, beside the start of Ray, and forks: a worker is there in a tenth of the
time, and shares the memory of what was imported. Ray starts `fork_client.py` in place of its own script that sets a
worker up; that hands over to a fork whatever makes a process: arguments, environment, directory, files, priority. It
runs by itself, and ends with the program:

    python fork_server.py ADDRESS PROGRAM JSON

with a list of the folders in which modules are found, of the modules that do not need Ray, and of those that do. Its
input is a line with a secret; where the input ends, it does.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    sys.path.pop(0)  # this folder, whose modules are called as others are

import ctypes
import gc
import hmac
import importlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

LOOK_SECONDS = 1.0
"""Between looks whether the program is still there."""
FLAGS = ("RAY_JOB_ID", "RAY_RAYLET_PID")
"""Environment variables that Ray reads when it is imported, and never again: it can be imported when they are known."""

KILLED_WITH_ITS_PARENT = 1
"""Linux's number of the setting of a process that says which signal it gets at the end of its parent."""

HAS_FORKED, TAKES_IT = b"1", b"2"
"""As in the client, which this program cannot import."""

Request = dict[str, Any]


def peer_of(connection: socket.socket) -> int:
    """Return the user at the other end of a connection: an address of Linux's abstract ones is open to all."""
    size = struct.calcsize("3i")
    _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return int(user)


def load(folders: list[str], modules: list[str]) -> None:
    """Import modules as the program would; of where modules are found only what they add remains.

    Raises:
        RuntimeError: they have started a thread; the locks that it holds would stay locked in a fork.
    """
    before = list(sys.path)
    sys.path[:] = folders
    for module in modules:
        with suppress(Exception):  # the worker that needs it says so
            importlib.import_module(module)
    added = sys.path[: -len(folders)] if sys.path[-len(folders) :] == folders else []
    sys.path[:] = added + before
    gc.collect()
    gc.freeze()  # what is never collected is not written to, and stays shared
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process with threads cannot be forked")


def serve(
    listener: socket.socket, program: int, secret: str, answer: Callable[[socket.socket], Request | None]
) -> Request | None:
    """Answer requests; return one in the fork that is to be it, and None in this process when the program has ended."""
    while os.getppid() == program:
        ready = select.select([sys.stdin, listener], [], [], LOOK_SECONDS)[0]
        if sys.stdin in ready:
            return None
        if ready:
            connection, _ = listener.accept()
            with connection, suppress(OSError, ValueError):
                connection.settimeout(10)
                if not _is_own(connection, secret):
                    continue
                if (request := answer(connection)) is not None:
                    return request
    return None


def _is_own(connection: socket.socket, secret: str) -> bool:
    """Return whether who has connected is of this user, and was told the secret.

    The user's number alone is not enough: a container may share it, and the network in which the address is.
    """
    expected = secret.encode()
    return peer_of(connection) == os.getuid() and hmac.compare_digest(
        connection.recv(len(expected), socket.MSG_WAITALL), expected
    )


class Server:
    """Imports what needs Ray at the first request, and forks.

    Args:
        folders: in which modules are found.
        modules: that need Ray.
    """

    def __init__(self, folders: list[str], modules: list[str]) -> None:
        self.folders, self.modules = folders, modules
        self.flags: list[str | None] | None = None

    def __call__(self, connection: socket.socket) -> Request | None:
        """Answer a request; return it in the fork."""
        head, files, _, _ = socket.recv_fds(connection, 4, 3)
        try:
            with connection.makefile("rb") as stream:
                request: Request = json.loads(stream.read(int.from_bytes(head)))
            flags = [request["environment"].get(name) for name in FLAGS]
            if self.flags is None:
                os.environ.update(request["environment"])
                if self.modules:
                    with _classes_numbered_by_the_system():
                        load(self.folders, self.modules)
                    check_draws()
                self.flags = flags
            if flags != self.flags or "arguments" not in request:
                return None
            if os.fork() == 0:
                # Whoever has asked may have given up, and be the worker by now, or be gone with Ray.
                connection.sendall(HAS_FORKED)
                if connection.recv(1) != TAKES_IT:
                    os._exit(0)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                return request
        finally:
            for file in files:
                os.close(file)
        return None


@contextmanager
def _classes_numbered_by_the_system() -> Iterator[None]:
    """Let classes of actors that are defined within the block have numbers of the system's.

    Ray draws them from its own generator, whose state all forks would begin with: they would give tasks, and objects,
    the same numbers.
    """
    from ray import actor

    own = actor.ActorClassID
    actor.ActorClassID = SimpleNamespace(from_random=lambda: own(os.urandom(own.size())))
    try:
        yield
    finally:
        actor.ActorClassID = own


def check_draws() -> None:
    """Check that forks of this process draw different numbers from Ray's generator.

    Raises:
        RuntimeError: they draw the same: something has used it.
    """
    from ray import _raylet as raylet

    drawn: set[bytes] = set()
    for _ in range(2):
        own, forks = os.pipe()
        if os.fork() == 0:
            os.write(forks, raylet.UniqueID.from_random().binary())
            os._exit(0)
        os.close(forks)
        with open(own, "rb") as file:
            drawn.add(file.read())
    if len(drawn) < 2:
        raise RuntimeError("Ray's generator was used before the fork: forks would draw the same numbers")


def become(request: Request) -> list[str]:
    """Make this process the one that has asked; return the arguments of its program."""
    # A group of its own: where Ray ends groups of processes it must not end its siblings.
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(request["environment"])
    _ray_reads_its_environment()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # Python's own generator is seeded anew in each fork
    with suppress(OSError):  # it may have been deleted
        os.chdir(request["directory"])
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, request["open_files"])
    os.umask(request["umask"])
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, request["priority"])
    with suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(request["oom_score_adj"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if not request["ignores_interrupts"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    arguments: list[str] = request["arguments"]
    while arguments[0].startswith("-"):  # flags of Python, which this one was started with
        del arguments[0]
    return arguments


def _ray_reads_its_environment() -> None:
    """Have Ray read its settings again, which it did when it was imported."""
    if (config := getattr(sys.modules.get("ray._raylet"), "Config", None)) and hasattr(config, "initialize"):
        config.initialize("")


def main() -> None:
    """Import, serve, and in a fork run the program that was asked for."""
    # A program that is killed while it ends leaves this process stopped, which would not look for it any more.
    ctypes.CDLL(None).prctl(KILLED_WITH_ITS_PARENT, signal.SIGKILL)
    address, program = sys.argv[1], int(sys.argv[2])
    if os.getppid() != program:  # it had ended before
        return
    folders, modules, of_ray = json.loads(sys.argv[3])
    with open(0, "rb", buffering=0, closefd=False) as given:
        secret = given.readline().decode().strip()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that have ended are not waited for
    own = len(sys.path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind("\0" + address)
        listener.listen(64)  # who asks while modules are imported waits
        load(folders, modules)
        if (request := serve(listener, program, secret, Server(folders, of_ray))) is None:
            return
    sys.argv[:] = become(request)
    # A program's folder comes first, and then modules that it imports add theirs before it.
    if not sys.flags.safe_path:
        sys.path.insert(len(sys.path) - own, os.path.dirname(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
