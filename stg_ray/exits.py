"""Ends of the program: exit codes, and the one line of an error. 0 done, 1 failed, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from stg_ray.errors import InputError, InterruptedRun, StgRayError, one_line


def with_interrupts(work: Callable[[], Any], directory: str) -> None:
    """Do the work; SIGTERM interrupts it like Ctrl-C: finished work is kept, Ray is shut down, the exit code is 130.

    Raises:
        InterruptedRun: it was interrupted.
        StgRayError: a file is cut off.
    """

    def stop(_signal: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        work()
    except EOFError as error:  # click would take it for the end of the user's input, and exit silently
        raise StgRayError(f"a file is cut off ({one_line(error)}): give the same command again") from error
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"interrupted: what is finished is kept in {directory}; the same command goes on from there"
        ) from None


def exit_code(error: BaseException, *, verbose: bool) -> int:
    """Print an error in one line (with `verbose` its traceback, too), and return the exit code that it calls for."""
    if hasattr(error, "exit_code") and not hasattr(error, "show"):  # typer.Exit: help was shown
        return int(error.exit_code)
    if type(error).__name__ == "Abort":
        return 130
    if hasattr(error, "show") and hasattr(error, "format_message"):  # click's own: a missing argument, a bad option
        _say(f"{error.format_message()} (see stg-ray --help)")
        return 2
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, StgRayError | KeyboardInterrupt):
        _say(str(error) or "interrupted")
        if isinstance(error, InterruptedRun | KeyboardInterrupt):
            return 130
        return 2 if isinstance(error, InputError) else 1
    if not verbose:
        _say(f"{type(error).__name__}: {one_line(error)} (--verbose shows where)")
    return 1


def _say(text: str) -> None:
    print(f"stg-ray: {text}", file=sys.stderr)
