"""Blocking calls of Ray that can be interrupted, and what is said of exceptions that it hands on.

Ray Train and Tune install their own handlers of Ctrl-C when they run in the main thread, and these may end the process
as if it had succeeded. So their blocking calls run in a thread, while the main thread waits, shows progress and
receives the interrupt; leaving the session then ends whatever is still running.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from stg_ray.errors import StgRayError
from stg_ray.imports import users_place
from stg_ray.modules import is_installed

Result = TypeVar("Result")

POLL_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""Time between two looks at the nodes of the cluster."""


_calls: WeakSet[Call[Any]] = WeakSet()


def is_calling() -> bool:
    """Whether a call of another thread is within Ray."""
    return any(not call.over.is_set() and call.thread is not threading.current_thread() for call in _calls)


class Call(Generic[Result]):
    """A call of a function in a thread of its own.

    Args:
        work: the function.
        stay: the thread outlives the call until this is set: what a thread has started may end with it.

    Attributes:
        over: set when the call has ended.
        thread: in which it runs.
    """

    def __init__(self, work: Callable[[], Result], stay: threading.Event | None = None) -> None:
        self.work, self.stay = work, stay
        self.over = threading.Event()
        self.outcome: list[Result] = []
        self.failure: list[BaseException] = []
        self.thread = threading.Thread(target=self._run, daemon=True, name="stg_ray-ray-call")
        _calls.add(self)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.outcome.append(self.work())
        except BaseException as error:
            self.failure.append(error)
        finally:
            self.over.set()
        if self.stay is not None:
            self.stay.wait()

    def result(self, poll: Callable[[], None] = lambda: None) -> Result:
        """Wait for the call, with a look every `POLL_SECONDS`, and return its result or raise its exception."""
        while not self.over.wait(POLL_SECONDS):
            poll()
        if self.failure:
            raise self.failure[0]
        return self.outcome[0]


def wait_for(work: Callable[[], Result], poll: Callable[[], None] | None = None) -> Result:
    """Run a blocking Ray call in a thread and wait for its result, so that the main thread can be interrupted.

    Args:
        work: the call; an exception that it raises is raised here.
        poll: called every `POLL_SECONDS` while it runs.

    Raises:
        StgRayError: the node of this program is dead.
    """
    looked = time.monotonic()

    def look() -> None:
        nonlocal looked
        if time.monotonic() - looked > LOOK_SECONDS:
            check_own_node()
            looked = time.monotonic()
        if poll is not None:
            poll()

    return Call(work).result(look)


def check_own_node() -> None:
    """Check that the node that this program is connected to is alive: without it, Tune would wait forever.

    Raises:
        StgRayError: that node is dead.
    """
    import ray

    node_id = ray.get_runtime_context().get_node_id()
    if any(node["NodeID"] == node_id and not node["Alive"] for node in ray.nodes()):
        raise lost("the node of this program is dead")


def lost(why: str) -> StgRayError:
    """Return the error of a run whose Ray was lost."""
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
