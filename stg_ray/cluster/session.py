"""The Ray session of a run: a local Ray, or a cluster that is joined."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from stg_ray import interrupts
from stg_ray.cluster.addresses import check_address, ray_address
from stg_ray.cluster.calls import Call, lost, root_cause
from stg_ray.cluster.keepers import start_keeper
from stg_ray.cluster.own_ray import check_limits, descendants, end, start
from stg_ray.cluster.places import check_settings, local_settings
from stg_ray.cluster.ray_messages import brief, in_brief
from stg_ray.errors import InputError, one_line

START_SECONDS = 30.0
"""Time for which an interrupted start is waited for; one that hangs is left to Ray's keeper, which outlives us."""

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
    # Ray would start a worker for each CPU at once, and end them unused: those of Ray Train have other settings.
    "RAY_prestart_worker_first_driver": "0",
    # glibc gives the threads of a process heaps of their own, of which each keeps what was freed: a tenth of a trial.
    # With two trials are as small as with one, and with one digits took 4 % longer.
    "MALLOC_ARENA_MAX": "2",
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
    begun = _ahead.pop() if _ahead else None
    if begun is None:
        level = _prepare(target, verbose)
        import ray

        if ray.is_initialized():
            yield
            return
        if target != "local":
            check_address(address)
            with _told(verbose), _joined(target, level, verbose):
                yield
            return
        begun = _Start(level, verbose)
    with _told(verbose), begun:
        begun.call.result()
        interrupts.put_back()
        yield


def _told(verbose: bool) -> AbstractContextManager[None]:
    """Return the context in which Ray's messages are printed: whole, or a line each."""
    return nullcontext() if verbose else in_brief()


def _prepare(target: str, verbose: bool) -> int:
    """Set what Ray reads when it is imported, and how much it logs; return the level.

    Raises:
        InputError: Ray's settings or its temporary folder do not allow a run.
    """
    check_settings(os.environ)
    own = OWN_RAY_SETTINGS | local_settings(os.environ) if target == "local" else {}
    for name, value in (RAY_SETTINGS | own).items():
        os.environ.setdefault(name, value)
    import ray

    level = logging.INFO if verbose else logging.ERROR
    if not ray.is_initialized():
        logging.getLogger("ray").setLevel(level)
        # Tune prints a traceback whenever a trial dies, even if the trial is retried.
        logging.getLogger("ray.tune").setLevel(level if verbose else logging.CRITICAL)
    return level


class _Start:
    """A local Ray that is started in a thread, where it leaves this process's handlers of signals alone, and ended.

    Attributes:
        call: the start.
    """

    def __init__(self, level: int, verbose: bool) -> None:
        check_limits()
        self.before = descendants()
        self.ended = threading.Event()
        # Linux ends Ray's processes with the thread that has started them (PR_SET_PDEATHSIG).
        self.call = Call(lambda: start(level, verbose, self.before), stay=self.ended)

    def __enter__(self) -> _Start:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        is_whole = self.call.over.wait(START_SECONDS)  # an interrupted start is ended when it is whole
        if not is_whole or end(self.before):
            self.ended.set()  # else they end with the process
        if is_whole:
            _raise_iflost(error)


@contextmanager
def _joined(target: str, level: int, verbose: bool) -> Iterator[None]:
    """Join a cluster for the length of a `with` block."""
    try:
        with _same_signal_handlers():
            _join(target, level, verbose)
        start_keeper()
        yield
    except BaseException as error:
        _raise_iflost(error)
        raise
    finally:
        end(None)


def _raise_iflost(error: BaseException | None) -> None:
    """Raise what is said of an exception of Ray's that no stage has handled: Ray itself was lost."""
    import ray

    if isinstance(error, ray.exceptions.RayError):
        raise lost(brief(root_cause(error)).rstrip(".")) from error


_ahead: list[_Start] = []
"""A local Ray that was begun before its session, until the session takes it over."""


@contextmanager
def starting_ahead(address: str | None, *, verbose: bool = False) -> Iterator[None]:
    """Begin to start the local Ray of the session to come, which takes seconds: meanwhile the block imports and reads.

    Where the session will use a Ray that runs already, or Ray cannot be started, this does nothing. It is for programs
    that end soon after the block: a Ray that no session has taken over, because the input was wrong, ends with the
    program, and its keeper removes what is left.
    """
    if not is_elsewhere(address):
        with suppress(InputError):  # the session will say it
            _ahead.append(_Start(_prepare("local", verbose), verbose))
    try:
        yield
    finally:
        _ahead.clear()


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


def is_elsewhere(address: str | None) -> bool:
    """Return whether a session would use a Ray that runs already instead of starting one."""
    ray = sys.modules.get("ray")  # not imported here: the environment variables must be set before
    return ray_address(address) != "local" or (ray is not None and ray.is_initialized() and not _ahead)


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
