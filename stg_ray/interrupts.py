"""Ctrl-C and SIGTERM, which interrupt the program wherever its main thread is.

A signal's handler can only raise an exception in the code that happens to run, and that code may swallow it: callbacks
of weak references, `__del__`, a bare `except`. Within Python's import system the exception would leave a module's lock
behind, for which another thread then waits forever; and compiled modules that are imported, such as torch's, may abort
the program at an exception. So the handler never raises in the one, and not at once in the other, and an alarm raises
the exception once more until the program has met it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

AGAIN_SECONDS = 0.5
"""Time after which an interrupt that nobody has met is raised again."""
SOON_SECONDS = 0.02
"""The same where it was not raised at all."""
PATIENCE_SECONDS = 10.0
"""Time in which further signals leave the clean-up, and imports, alone: `timeout` and some schedulers send each signal
twice."""
IMPORT_SECONDS = 60.0
"""Time in which a module is imported to its end, unless a further signal comes: torch takes 20 s of a busy machine."""

IMPORT_SYSTEM = ("<frozen importlib", "<frozen zipimport")
"""Beginnings of the file names of Python's import system."""

_asked_at: list[float] = []
"""When the first signal came that the program has not met yet."""


def listen() -> None:
    """Let SIGINT and SIGTERM raise KeyboardInterrupt in the main thread; one that is ignored (nohup) stays ignored."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)


def put_back() -> None:
    """Put this process's handlers back in place where compiled code has replaced them beneath Python, as Ray's does.

    That of SIGTERM prints where it came upon the program, and makes SIGALRM abort it; once Ray is shut down, SIGTERM
    ends the program at once. In other threads than the main one this does nothing.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (*SIGNALS, signal.SIGALRM):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


def met() -> None:
    """Raise the interrupt no more: what it ends has ended. Without an interrupt this does nothing."""
    if _asked_at:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _asked_at.clear()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Handle a signal, or the alarm that follows one.

    Raises:
        KeyboardInterrupt: unless it is on its way already, or a module is being imported.
    """
    put_back()
    is_alarm = number == signal.SIGALRM
    if not is_alarm and not _asked_at:
        _asked_at.append(time.monotonic())
    if not _asked_at:
        return  # met just before the alarm
    since = time.monotonic() - _asked_at[0]
    is_early = since < PATIENCE_SECONDS
    if _is_on_its_way() and (is_alarm or is_early):
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    elif _is_importing(frame, whole=is_early or (is_alarm and since < IMPORT_SECONDS)):
        signal.setitimer(signal.ITIMER_REAL, SOON_SECONDS)
    else:
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        raise KeyboardInterrupt


def _is_importing(frame: FrameType | None, *, whole: bool) -> bool:
    """Whether the import system is at work in a frame; of the whole import, also where a module's own code is."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_SYSTEM):
            return True
        frame = frame.f_back if whole else None
    return False


def _is_on_its_way() -> bool:
    """Whether the main thread is cleaning up after an interrupt."""
    error = sys.exc_info()[1]
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
