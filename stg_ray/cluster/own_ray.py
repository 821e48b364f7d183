"""A Ray of this program's own: it listens on loopback only, keeps its files to its user, and leaves none behind."""

from __future__ import annotations

import inspect
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from stg_ray import interrupts
from stg_ray.cluster import forks, keeper
from stg_ray.cluster.calls import is_calling
from stg_ray.cluster.keepers import end_keeper, start_keeper
from stg_ray.cluster.machine import EXTRAS_OF_RAY, missing_for_ray
from stg_ray.cluster.places import private_folder, ray_temporary
from stg_ray.errors import InputError, StgRayError, one_line
from stg_ray.exits import process_ends

STARTS = 3
"""Ray gives a start up after 30 seconds, which a loaded machine may exceed."""

LEAST_ADDRESSES = 16 * 2**30
"""Bytes of address space of each process: Ray maps a third of the machine's memory, and torch several GiB of files.
With 8 GB Ray's own processes crash."""

MARK = ".stg_ray"
"""File in the folder of a session that was begun here."""

PARAMETERS = {
    # Ray's agent has a fixed port, and it waits three seconds for it where another Ray of this machine has it.
    "dashboard_agent_listen_port": 0,
    # The autoscaler's process: there are no nodes to be had.
    "no_monitor": True,
}
"""Of a local Ray, which `ray.init` does not take."""


def check_limits() -> None:
    """Refuse limits of the shell under which Ray cannot start.

    Raises:
        InputError: `ulimit -v` is too low.
    """
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESSES:
        raise InputError(
            f"the shell limits each process to {limit / 2**30:.1f} GiB of addresses (ulimit -v {limit // 1024}), and "
            f"Ray needs {LEAST_ADDRESSES / 2**30:.0f}: give ulimit -v unlimited; it is no limit on memory"
        )


def start_patiently(start: Callable[[], None], clean_up: Callable[[], object]) -> None:
    """Start Ray; on a loaded machine once more, and again.

    Args:
        start: starts it, and raises where that fails.
        clean_up: ends what a failed start has left.

    Raises:
        StgRayError: it does not start.
    """
    for number in range(1, STARTS + 1):
        try:
            start()
            return
        except Exception as error:  # Ray's own are bare exceptions
            clean_up()
            if "timed out" not in str(error) or number == STARTS:
                raise StgRayError(
                    f"Ray did not start here ({one_line(error)}; {_why_not()}); nothing is lost: give the same command "
                    "again"
                ) from error
        time.sleep(number)


def _why_not() -> str:
    """Say what may have kept Ray from starting."""
    if missing := missing_for_ray():
        extras = ",".join(EXTRAS_OF_RAY)
        return f"packages that it needs are missing, {', '.join(missing)}: pip install 'ray[{extras}]'"
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    return f"the machine is busy: a load of {load:.0f} on {cpus} CPUs" if load > cpus else "see stg-ray doctor"


@contextmanager
def with_parameters(**values: object) -> Iterator[None]:
    """Let a Ray that is started within the block have parameters that `ray.init` does not take.

    Those that this version of Ray does not know are left out.
    """
    from ray._private import parameter

    default = parameter.RayParams
    known = inspect.signature(default).parameters
    parameter.RayParams = partial(default, **{name: value for name, value in values.items() if name in known})
    try:
        yield
    finally:
        parameter.RayParams = default


@contextmanager
def on_loopback() -> Iterator[None]:
    """Let a Ray that is started within the block listen on 127.0.0.1 only, as it does on macOS and Windows.

    Ray asks an environment variable whether this machine may be one of several, and remembers it when it is imported.
    Both are as they were after the block, so that the program can join a cluster later.
    """
    from ray._private import ray_constants

    name = getattr(ray_constants, "ENABLE_RAY_CLUSTERS_ENV_VAR", None)
    before, known = (os.environ.get(name), ray_constants.ENABLE_RAY_CLUSTER) if name else (None, None)
    if name is None or before is not None:  # another version of Ray, or the user's choice
        yield
        return
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        del os.environ[name]
        ray_constants.ENABLE_RAY_CLUSTER = known


def make_private(session: Path) -> None:
    """Close the folder of a session to other users: Ray opens it to all."""
    with suppress(OSError):
        session.chmod(0o700)
        (session / MARK).touch()


def remove_session(session: Path) -> None:
    """Delete the folder of a session that has ended."""
    if (session / MARK).exists():
        shutil.rmtree(session, ignore_errors=True)


def remove_leftovers(environment: Mapping[str, str]) -> None:
    """Delete the folders of sessions whose program was killed: theirs have its number, and our mark."""
    folders = {ray_temporary(environment), private_folder(environment) or ray_temporary(environment)}
    for mark in (mark for folder in folders for mark in Path(folder, "ray").glob(f"session_*/{MARK}")):
        number = mark.parent.name.rpartition("_")[2]
        with suppress(OSError):
            if number.isdigit() and not psutil.pid_exists(int(number)) and mark.stat().st_uid == os.getuid():
                shutil.rmtree(mark.parent, ignore_errors=True)


def start(level: int, verbose: bool, before: set[psutil.Process]) -> None:
    """Start a local Ray, and connect to it.

    Args:
        level: of Ray's logging.
        verbose: show the output of its workers.
        before: this process's descendants from before.

    Raises:
        StgRayError: it does not start.
    """
    import ray

    def once() -> None:
        private = private_folder(os.environ)
        start_keeper(private or ray_temporary(os.environ))
        own = {} if private is None else {"_temp_dir": os.path.join(private, "ray")}
        with on_loopback(), with_parameters(**PARAMETERS, include_log_monitor=verbose, **forks.start()):
            ray.init(address="local", include_dashboard=False, log_to_driver=verbose, logging_level=level, **own)

    remove_leftovers(os.environ)
    start_patiently(once, lambda: end(before))
    forks.ray_is_up()
    if (folder := _session_folder()) is not None:
        make_private(folder)


def end(before: set[psutil.Process] | None) -> bool:
    """Shut Ray down, and kill what is left of a local Ray: its agents outlive one that is interrupted while it starts.

    Args:
        before: this process's descendants from before the local Ray was started; None for a cluster.

    Returns:
        Whether all of it has ended: what is left does with this process.
    """
    import ray

    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None  # shutting down takes a second
    try:
        if before is not None:
            forks.pause()
        started, folder = descendants(), _session_folder()
        # Ray's own code must not be taken down under a call that is within it: now and then the process crashes. Where
        # the process ends anyway, its Ray is killed instead.
        abandoned = before is not None and process_ends.is_set() and is_calling()
        if not abandoned:
            ray.shutdown()
            interrupts.put_back()
        stays: set[psutil.Process] = set()
        if before is not None:
            rays = {process for process in (started | descendants()) - before if _is_rays(process)}
            stays = _hold(rays) if abandoned else stays
            _, alive = psutil.wait_procs(rays - stays, timeout=0 if abandoned else 0.1)  # an agent would take its time
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=5)
            if folder is not None:
                for process in keeper.processes_of([os.path.realpath(folder)]) if abandoned else ():
                    with suppress(psutil.NoSuchProcess):  # started since they were listed
                        if process not in stays:
                            process.kill()
                remove_session(folder)
            forks.end()
        if not stays or sys.platform == "linux":
            end_keeper()
        return not abandoned
    finally:
        if in_main:
            signal.signal(signal.SIGINT, previous)


def _hold(rays: set[psutil.Process]) -> set[psutil.Process]:
    """Stop those of Ray's processes without which it would end this one, and return them.

    A call that is within Ray ends the process at once, with 1 and without a word, where its raylet is gone. On Linux
    the raylet ends with this process (PR_SET_PDEATHSIG); elsewhere the keeper ends it.
    """
    held = set()
    for process in rays:
        with suppress(psutil.NoSuchProcess):
            if process.name() == "raylet":
                process.suspend()
                held.add(process)
    return held


def _session_folder() -> Path | None:
    """Return the folder of the files of the Ray that this program is connected to; None if it is to none."""
    from ray._private import worker

    node = getattr(worker, "_global_node", None)
    return Path(node.get_session_dir_path()) if node is not None else None


def _is_rays(process: psutil.Process) -> bool:
    """Return whether a process belongs to Ray, by its command line: a notebook may have started others meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return re.search(r"(^|[/ ])ray(::|/)", " ".join(process.cmdline())) is not None
    return False


def descendants() -> set[psutil.Process]:
    """Return all processes that this one started, and theirs."""
    return set(psutil.Process().children(recursive=True))
