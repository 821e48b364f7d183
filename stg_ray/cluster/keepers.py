"""The process beside this program while it is connected to Ray: it says when the program is killed, and cleans up."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime
from typing import NamedTuple

from stg_ray.cluster import keeper
from stg_ray.exits import before_the_end


class _Keeper(NamedTuple):
    process: subprocess.Popen[bytes]
    is_of_own_ray: bool


_keepers: list[_Keeper] = []


def start_keeper(temporary: str | None = None) -> None:
    """Start the process that says it if this program is killed from now on.

    Args:
        temporary: the folder in which that of a local Ray will be, of which it ends what is left; None for a cluster.
    """
    of_ray = [] if temporary is None else [temporary, datetime.now().strftime(keeper.NAME)]
    process = subprocess.Popen(
        [sys.executable, "-P", keeper.__file__, str(os.getpid()), *of_ray],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # neither Ctrl-C nor a signal to the program's group ends it
    )
    _keepers.append(_Keeper(process, temporary is not None))


def is_running() -> bool:
    """Return whether a local Ray that this process started is running."""
    return any(beside.is_of_own_ray for beside in _keepers)


def end_keeper() -> None:
    """End the process beside a program whose Ray has ended."""
    while _keepers:
        with _keepers.pop().process as process:
            process.kill()


def _tell() -> None:
    """Tell it that this program ends by itself."""
    for beside in _keepers:
        assert beside.process.stdin is not None
        os.write(beside.process.stdin.fileno(), keeper.TOLD)


before_the_end.append(_tell)
