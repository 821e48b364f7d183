"""The Ray session of a run: its own local one, or a cluster that is joined; and waiting for Ray with a way out.

Ray Train and Tune install their own handlers of Ctrl-C when they run in the main thread, and these may end the process
as if it had succeeded. So their blocking calls run in a thread, and the main thread waits, shows progress and is the
one that is interrupted; leaving the session then ends whatever is still running.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TypeVar

import psutil

from stg_ray.errors import InputError, StgRayError, one_line

Result = TypeVar("Result")

POLL_SECONDS = 0.25
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 1.0


RAY_SETTINGS = {
    # Ray's default of 2 s between looks at the workers is a quarter of a short epoch.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's newer output prints its own tables whatever its verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A thread of Tune's that outlives an interrupted session must not start a new one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "TUNE_DISABLE_AUTO_INIT": "1",
}

OWN_RAY_SETTINGS = {
    # The watcher of preempted nodes is a process of its own, and a laptop is not preempted.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


@contextmanager
def session(address: str | None, *, verbose: bool = False) -> Iterator[None]:
    """A Ray session: the cluster at `address`, else at $RAY_ADDRESS, else a Ray of its own ("local", never one that
    happens to run). A session that exists already is used as it is and left open.

    However the block ends, no process of a Ray of its own is left behind.

    Raises:
        InputError: the cluster cannot be joined.
        StgRayError: it was lost.
    """
    target = ray_address(address)
    for name, value in (RAY_SETTINGS | (OWN_RAY_SETTINGS if target == "local" else {})).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    check_address(address)
    level = logging.INFO if verbose else logging.ERROR
    logging.getLogger("ray").setLevel(level)
    # Tune prints the traceback of every death of a trial that is tried again.
    logging.getLogger("ray.tune").setLevel(level if verbose else logging.CRITICAL)
    before = _descendants()
    try:
        with _same_signal_handlers():
            _join(target, level, verbose)
        yield
    except ray.exceptions.RayError as error:  # what a stage does not know of: the cluster itself was lost
        raise _lost(root_cause(error)) from error
    finally:
        _end(before if target == "local" else None)


class LazySession:
    """A Ray session that begins when it is first needed, and ends with the block.

    Attributes:
        is_elsewhere: whether it would use a Ray that is there already, instead of one of its own.
    """

    def __init__(self, address: str | None, *, verbose: bool = False) -> None:
        self.address, self.verbose = address, verbose
        self.is_elsewhere = is_elsewhere(address)
        self._stack = ExitStack()
        self._is_up = False

    def start(self) -> None:
        """Begin the session, unless it has begun.

        Raises:
            InputError: the cluster cannot be joined.
        """
        if not self._is_up:
            self._stack.enter_context(session(self.address, verbose=self.verbose))
            self._is_up = True

    def __enter__(self) -> LazySession:
        self._stack.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)


def ray_address(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or "local"


def is_elsewhere(address: str | None) -> bool:
    """Whether a session would use a Ray that is there already, instead of one of its own."""
    ray = sys.modules.get("ray")  # settings of Ray's come before its import
    return ray_address(address) != "local" or (ray is not None and ray.is_initialized())


def check_address(address: str | None) -> None:
    """Knock at the cluster's door: Ray itself tries for minutes before it says that nobody is there.

    Raises:
        InputError: nothing answers at the address.
    """
    host, _, port = ray_address(address).rpartition(":")
    if not port.isdigit() or "/" in host:
        return  # "local", "auto", or a kind of address that Ray resolves
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {host}:{port} ({error.strerror or error}): check --address and RAY_ADDRESS"
        ) from error


def _join(target: str, level: int, verbose: bool) -> None:
    import ray

    try:
        ray.init(
            address=target,
            include_dashboard=False if target == "local" else None,
            log_to_driver=verbose,
            logging_level=level,
        )
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        if target == "local":
            raise
        raise InputError(f"cannot join the Ray cluster at {target}: {one_line(error)}") from error


def _end(before: set[psutil.Process] | None) -> None:
    """Shut Ray down. Its agents outlive it when it is interrupted while it starts: what is left of a Ray of our own
    (with the processes that there were before it) is killed."""
    import ray

    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main else None  # the end itself takes its second
    try:
        started = _descendants()
        ray.shutdown()
        if before is not None:
            ours = {process for process in (started | _descendants()) - before if _is_rays(process)}
            _, alive = psutil.wait_procs(ours, timeout=1)
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(alive, timeout=5)
    finally:
        if in_main:
            signal.signal(signal.SIGINT, previous)


def _is_rays(process: psutil.Process) -> bool:
    """Whether a process is part of Ray, by its command line: a notebook may have started others meanwhile."""
    with suppress(psutil.NoSuchProcess):
        return re.search(r"(^|[/ ])ray(::|/)", " ".join(process.cmdline())) is not None
    return False


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Keep the handlers of SIGINT and SIGTERM, which ray.init replaces by ones that end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def wait_for(work: Callable[[], Result], poll: Callable[[], None] | None = None) -> Result:
    """Run a blocking Ray call in a thread; `poll` is called now and then. What it raises is raised here."""
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True, name="stg_ray-ray-call")
    thread.start()
    looked = time.monotonic()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        if time.monotonic() - looked > LOOK_SECONDS:
            check_own_node()
            looked = time.monotonic()
        if poll is not None:
            poll()
    if failure:
        raise failure[0]
    return outcome[0]


def check_own_node() -> None:
    """Without the node that it is connected to a program has no Ray any more, but Tune would wait for one for ever.

    Raises:
        StgRayError: that node is dead.
    """
    import ray

    own = ray.get_runtime_context().get_node_id()
    if any(node["NodeID"] == own and not node["Alive"] for node in ray.nodes()):
        raise _lost("the node of this program is dead")


def _lost(why: str) -> StgRayError:
    return StgRayError(f"Ray was lost: {why}; what is finished is kept: give the same command again when it is back")


def root_cause(error: BaseException) -> str:
    """The innermost message of an exception that Ray wrapped, in one line."""
    seen: BaseException = error
    for _ in range(20):
        inner = getattr(seen, "cause", None) or seen.__cause__
        failures = getattr(seen, "worker_failures", None)
        if failures:
            inner = next(iter(failures.values()))
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    lines = [line.strip() for line in str(seen).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(seen).__name__
