"""Starts a worker of a local Ray: as a fork of the fork server where there is one, else as Ray does.

Ray runs this in place of its own script that sets a worker up, with its arguments: the program of the worker and its
arguments, and where the worker has a runtime environment, that. It imports little, so that it is over soon:

    python fork_client.py PROGRAM ARGUMENT ... [--language=PYTHON] [--serialized-runtime-env-context=JSON]
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

ADDRESS = "STG_RAY_FORK_SERVER"
"""Environment variable with the address of the fork server, an abstract one of Linux."""
OF_RAY = "STG_RAY_SETUP_WORKER"
"""Environment variable with the path of Ray's own script."""
LANGUAGE, CONTEXT = "--language=", "--serialized-runtime-env-context="
ANSWER_SECONDS = 60.0
"""The server may be importing still."""


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
    # Of these a Python that runs already takes no notice.
    return None if any(name.startswith(("PYTHON", "LD_")) for name in variables) else variables


def connected(address: str) -> socket.socket:
    """Return a connection to the fork server.

    Raises:
        OSError: there is none, or it is another user's: an abstract address is open to all.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect("\0" + address)
        _, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user != os.getuid():
            raise PermissionError(f"the fork server is user {user}'s")
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
    with open("/proc/self/oom_score_adj") as file:
        adjusted = file.read()
    os.umask(mask := os.umask(0))
    request = {
        "arguments": arguments,
        "environment": environment,
        "directory": os.getcwd(),
        "umask": mask,
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "oom_score_adj": adjusted,
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    }
    with suppress(OSError, KeyError), connected(os.environ[ADDRESS]) as connection:
        ask(connection, request)
        return connection.recv(1) == b"1"
    return False


if __name__ == "__main__":
    main()
