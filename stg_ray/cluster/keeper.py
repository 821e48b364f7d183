"""Says that the program was killed, and ends what a local Ray has left.

Ray ends a program at once and without a word where the raylet that it is connected to was killed, or its cluster's head
is gone. And two agents of a local Ray try for a minute to tell its servers, which are gone, that these are gone. This
small process waits beside the program for its end, which closes the pipe between them, and says it, unless it was told
of an end that the program has chosen itself. Then it ends every process of the program's session and removes its
folder. It runs by itself, so that nothing but the standard library and psutil is imported:

    python -P keeper.py PROGRAM [TEMPORARY SINCE]

without the last two beside a program that has joined a cluster, whose processes are its own.
"""

from __future__ import annotations

import os
import select
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

NAME = "session_%Y-%m-%d_%H-%M-%S_%f"
"""How Ray calls the folder of a session, before the number of the program."""
OURS = ("fork_server.py", "fork_client.py")
"""Programs of this package that become Ray's workers."""
LOOK_SECONDS = 0.3
QUIET_LOOKS = 3
"""Looks without a find after which nothing more is expected: a process that is being started has no files open yet."""
LONGEST_SECONDS = 15.0
TOLD = b"."
"""What the program writes where it ends by itself."""
LAST_WORDS = (
    "stg-ray: ended from outside: the program, or a process of Ray's that it cannot do without, was killed (systems do "
    "that when memory runs out); what is finished is kept, and the same command goes on from there"
)


def sessions_of(program: int, temporary: str, since: str) -> list[str]:
    """Return the real paths of the folders of a program's sessions of Ray whose names hold a later time."""
    with suppress(OSError):
        folder = os.path.realpath(os.path.join(temporary, "ray"))
        found = Path(folder).glob(f"session_*_{program}")
        return [str(path) for path in found if path.name >= since and path.stat().st_uid == os.getuid()]
    return []


def processes_of(sessions: list[str]) -> Iterator[psutil.Process]:
    """Yield the processes that write to files of sessions, or were given a session's folder when they were started."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real != os.getuid() or process.pid == os.getpid():
                continue
            command = process.cmdline()
            # A reader of a log file is the user's; a process of Ray's is named after it or called by its path, or was
            # forked a moment ago.
            if not any(word.startswith("ray::") or word.endswith(OURS) or "/ray/" in word for word in command[:3]):
                continue
            paths = [word.partition("=")[2] or word for word in command]
            writes = [file.path for file in process.open_files() if getattr(file, "mode", "w") != "r"]
            if any(
                path == session or path.startswith(session + os.sep) for path in paths + writes for session in sessions
            ):
                yield process


def clean_up(program: int, temporary: str, since: str) -> None:
    """Kill the processes of a program's sessions, until there are no more, and remove the sessions' folders."""
    began, quiet = time.monotonic(), 0
    while quiet < QUIET_LOOKS and time.monotonic() - began < LONGEST_SECONDS:
        found = list(processes_of(sessions_of(program, temporary, since)))
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        quiet = 0 if found else quiet + 1
        time.sleep(LOOK_SECONDS)
    for session in sessions_of(program, temporary, since):
        shutil.rmtree(session, ignore_errors=True)


def is_told(program: int) -> bool:
    """Wait for the end of the program; return whether it has told of it."""
    told = False
    # A process that the program has forked may hold the pipe open when the program is gone.
    while (is_there := os.getppid() == program) or select.select([0], [], [], 0)[0]:
        if select.select([0], [], [], 1.0 if is_there else 0)[0]:
            if not os.read(0, 1):
                break
            told = True
    return told


def main() -> None:
    """Wait for the end of the program, say it, and clean up after it."""
    program = int(sys.argv[1])
    if not is_told(program):
        with suppress(OSError):
            os.write(2, f"{LAST_WORDS}\n".encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)  # whoever reads the program's messages waits for their end
    if len(sys.argv) > 2:
        clean_up(program, sys.argv[2], sys.argv[3])


if __name__ == "__main__":
    main()
