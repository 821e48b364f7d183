"""Starts a worker of a local Ray: as a fork of the fork server where there is one, else as Ray does.

Ray runs this in place of its own script that sets a worker up, with its arguments: the program of the worker and its
arguments, and where the worker has a runtime environment, that. It imports little, so that it is over soon:

    python fork_client.py PROGRAM ARGUMENT ... [--language=PYTHON] [--serialized-runtime-env-context=JSON]
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

ADDRESS = "STG_RAY_FORK_SERVER"
"""Environment variable with the address of the fork server, an abstract one of Linux, and its secret."""
OF_RAY = "STG_RAY_SETUP_WORKER"
"""Environment variable with the path of Ray's own script."""
LANGUAGE, CONTEXT = "--language=", "--serialized-runtime-env-context="
ANSWER_SECONDS = 20.0
"""The server may be importing still; Ray waits for a worker for 60 seconds."""
HAS_FORKED, TAKES_IT = b"1", b"2"
"""What a fork says, and the answer without which it ends: whoever has asked may be gone, or be the worker by now."""

OF_LIBRARIES = (
    "PYTHON", "LD_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "GLIBC_", "TORCH", "PYTORCH_", "ARROW_",
    "LC_", "LANG", "TZ",
)  # fmt: skip
"""Beginnings of the names of variables of which Python and libraries take no notice once they are loaded."""


def main() -> None:
    """Start the worker that this process's arguments are of."""
    arguments = sys.argv[1:]
    context = next((word.removeprefix(CONTEXT) for word in arguments if word.startswith(CONTEXT)), None)
    own = [word for word in arguments if not word.startswith((LANGUAGE, CONTEXT))]
    variables = variables_of(context)
    if variables is None or not handed_over(own, {**os.environ, **variables}):
        setup = [] if context is None else [os.environ[OF_RAY]]
        os.execv(sys.executable, [sys.executable, *setup, *(own if context is None else arguments)])


def variables_of(context: str | None) -> dict[str, str] | None:
    """Return the environment variables of a runtime environment; None if it has more than those."""
    values: dict[str, Any] = json.loads(context or "{}")
    variables: dict[str, str] = values.pop("env_vars", None) or {}
    if values.pop("py_executable", sys.executable) != sys.executable or any(values.values()):
        return None
    # Ray puts values of other variables in for $NAME.
    known = not any(name.startswith(OF_LIBRARIES) or "$" in value for name, value in variables.items())
    return variables if known else None


def connected(address: str) -> socket.socket:
    """Return a connection to the fork server, to which it was told the secret.

    Args:
        address: the abstract one of a socket, and after a colon a secret: it is open to all, and listed.

    Raises:
        OSError: there is none, or it is another user's.
    """
    name, _, secret = address.partition(":")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect("\0" + name)
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user != os.getuid():
            raise PermissionError(f"the fork server is user {user}'s")
        connection.sendall(secret.encode())
    except OSError:
        connection.close()
        raise
    return connection


def ask(connection: socket.socket, request: dict[str, Any]) -> None:
    """Send a request to the fork server, with this process's standard files."""
    text = json.dumps(request).encode()
    socket.send_fds(connection, [len(text).to_bytes(4)], [0, 1, 2])
    connection.sendall(text)


def handed_over(arguments: list[str], environment: dict[str, str]) -> bool:
    """Have a fork take this process's place; return whether it does."""
    with suppress(OSError, KeyError), connected(os.environ[ADDRESS]) as connection:
        ask(connection, {"arguments": arguments, "environment": environment} | _own_state())
        if connection.recv(1) == HAS_FORKED:
            connection.sendall(TAKES_IT)
            return True
    return False


def _own_state() -> dict[str, Any]:
    """What a process has from the one that has started it, and its fork has to be given."""
    with open("/proc/self/oom_score_adj") as file:
        adjusted = file.read()
    os.umask(mask := os.umask(0))
    return {
        "directory": os.getcwd(),
        "umask": mask,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score_adj": adjusted,
        "open_files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "ignores_interrupts": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,  # as of a program in the background
    }


if __name__ == "__main__":
    main()
