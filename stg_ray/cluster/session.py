"""The Ray session of a run (a local Ray, or a cluster that is joined), and waiting for Ray that can be interrupted.

Ray Train and Tune install their own handlers of Ctrl-C when they run in the main thread, and these may end the process
as if it had succeeded. So their blocking calls run in a thread, while the main thread waits, shows progress and
receives the interrupt; leaving the session then ends whatever is still running.
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
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from stg_ray.cluster.own_ray import check_limits, descendants, end, start
from stg_ray.cluster.places import check_settings, local_settings
from stg_ray.errors import InputError, StgRayError, one_line
from stg_ray.imports import is_installed, users_place

Result = TypeVar("Result")

POLL_SECONDS = 0.25
CONNECT_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""Time between two looks at the nodes of the cluster."""

RAY_SETTINGS = {
    # Ray's default of 2 s between looks at the workers is a quarter of a short epoch.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's newer output prints its tables at any verbosity.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A thread of Tune's that outlives an interrupted session must not start a new one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "TUNE_DISABLE_AUTO_INIT": "1",
}
"""Environment variables of every session."""

OWN_RAY_SETTINGS = {
    # A worker's report waits for the next look at it, and with it the next epoch; few workers are looked at soon.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.05",
    # The watcher of preempted nodes is one more process, and a laptop is not preempted.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""Further environment variables of a local session."""


@contextmanager
def session(address: str | None, *, verbose: bool = False) -> Iterator[None]:
    """Open a Ray session for the length of a `with` block.

    A session that exists already is used as it is and left open. However the block ends, no process of a local Ray is
    left behind.

    Args:
        address: the cluster to join; by default the one at $RAY_ADDRESS, else a new local Ray, never one that happens
            to run.
        verbose: show the output of Ray and of its workers.

    Raises:
        InputError: the cluster cannot be joined, or Ray's settings, temporary folder or limits do not allow a run.
        StgRayError: a local Ray does not start, or the cluster was lost.
    """
    target = ray_address(address)
    check_settings(os.environ)
    own = OWN_RAY_SETTINGS | local_settings(os.environ) if target == "local" else {}
    for name, value in (RAY_SETTINGS | own).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    check_address(address)
    if target == "local":
        check_limits()
    level = logging.INFO if verbose else logging.ERROR
    logging.getLogger("ray").setLevel(level)
    # Tune prints a traceback whenever a trial dies, even if the trial is retried.
    logging.getLogger("ray.tune").setLevel(level if verbose else logging.CRITICAL)
    before = descendants()
    try:
        with _same_signal_handlers():
            if target == "local":
                start(level, verbose, before)
            else:
                _join(target, level, verbose)
        yield
    except ray.exceptions.RayError as error:  # the stages handle all others: the cluster itself was lost
        raise _lost(root_cause(error)) from error
    finally:
        end(before if target == "local" else None)


class LazySession:
    """A Ray session that begins when it is first needed, and ends with the `with` block.

    Attributes:
        is_elsewhere: whether it uses a Ray that runs already instead of starting one.
    """

    def __init__(self, address: str | None, *, verbose: bool = False) -> None:
        self.address, self.verbose = address, verbose
        self.is_elsewhere = is_elsewhere(address)
        self._stack = ExitStack()
        self._is_up = False

    def start(self) -> None:
        """Begin the session, unless it has begun already.

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
    """Return the address that a session would use: the one given, else $RAY_ADDRESS, else `local`."""
    return address or os.environ.get("RAY_ADDRESS") or "local"


def is_elsewhere(address: str | None) -> bool:
    """Return whether a session would use a Ray that runs already instead of starting one."""
    ray = sys.modules.get("ray")  # not imported here: the environment variables must be set before
    return ray_address(address) != "local" or (ray is not None and ray.is_initialized())


def check_address(address: str | None) -> None:
    """Probe the address first: Ray itself retries for minutes.

    Raises:
        InputError: nothing answers at the address.
    """
    host, _, port = ray_address(address).removeprefix("ray://").rpartition(":")
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
        ray.init(address=target, log_to_driver=verbose, logging_level=level)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise InputError(f"cannot join the Ray cluster at {target}: {one_line(error)}") from error


@contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, which ray.init replaces by ones that end the process at once."""
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
    """Run a blocking Ray call in a thread and wait for its result, so that the main thread can be interrupted.

    Args:
        work: the call; an exception that it raises is raised here.
        poll: called every `POLL_SECONDS` while it runs.

    Raises:
        StgRayError: the node of this program is dead.
    """
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
    """Check that the node that this program is connected to is alive: without it, Tune would wait forever.

    Raises:
        StgRayError: that node is dead.
    """
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    if any(node["NodeID"] == node_id and not node["Alive"] for node in ray.nodes()):
        raise _lost("the node of this program is dead")


def _lost(why: str) -> StgRayError:
    return StgRayError(f"Ray was lost: {why}; what is finished is kept: give the same command again when it is back")


STEP = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
"""A step of a traceback, of which Ray hands on the text."""


def root_cause(error: BaseException) -> str:
    """Return the last line of the innermost message of an exception that Ray wrapped, and where the user's code was."""
    cause: BaseException = error
    text = str(error)
    for _ in range(20):
        inner = getattr(cause, "cause", None) or cause.__cause__
        failures = getattr(cause, "worker_failures", None)
        if failures:
            inner = next(iter(failures.values()))
        if not isinstance(inner, BaseException) or inner is cause:
            break
        cause = inner
        text += f"\n{cause}"
    lines = [line.strip() for line in str(cause).strip().splitlines() if line.strip()]
    said = lines[-1] if lines else type(cause).__name__
    steps = [step for step in STEP.findall(text) if not is_installed(step[0])]
    where = users_place(steps)
    return f"{said} ({where})" if where else said
