"""Ends of the program: exit codes, and the one line of an error. 0 done, 1 failed, 2 wrong input, 130 interrupted."""

from __future__ import annotations

import errno
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from stg_ray import interrupts
from stg_ray.errors import InputError, InterruptedRun, StgRayError, one_line
from stg_ray.shown import shown

NEEDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk cannot be written to",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOMEM: "there was too little memory (see ulimit -v)",
    errno.EAGAIN: "the system has no more processes or memory for this user (see ulimit -u)",
}
"""What is missing, by the number of a system's error."""

KEPT = "what is finished is kept, and the same command goes on from there"

TOO_LITTLE_MEMORY = ("can't allocate memory", "can't start new thread", "failed to map segment")
"""In the messages of torch, of threads, and of imports."""


INTERRUPTED = 130
"""Exit code of a program that Ctrl-C or SIGTERM ends."""

PRINTING = ("rich", "typer")
"""Packages that write nothing but the output."""


process_ends = threading.Event()
"""Set where this process ends with its command, whatever still runs in it: that of `stg-ray`, not a notebook's."""

before_the_end: list[Callable[[], object]] = []
"""What is called where this process ends with its command."""


def begin() -> None:
    """Prepare a process that is one command: its streams, what a signal does, and that it ends with the command.

    A stream that is closed (`>&-`) leaves its number to the next file that is opened, into which Ray's processes would
    print: nothing takes what is written to it from now on.
    """
    process_ends.set()
    interrupts.listen()
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def leave(code: int) -> NoReturn:
    """End this process. Interrupted calls of Ray may still run in threads; they are not waited for."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # whoever read the output is gone
            stream.flush()
    for call in before_the_end:
        with suppress(OSError):
            call()
    os._exit(code)


def command_line(app: Callable[..., int | None], arguments: Sequence[str]) -> int:
    """Run the command of an application that the arguments name, and return its exit code."""
    plain_warnings()
    try:
        code = app(list(arguments), standalone_mode=False) or 0  # of typer.Exit; commands return nothing
        if code == INTERRUPTED:  # Typer's, of an interrupt in its own code
            raise KeyboardInterrupt
        sys.stdout.flush()
    except BaseException as error:
        interrupts.met()
        return exit_code(error, verbose=bool({"--verbose", "-v"} & set(arguments)))
    return code


def with_interrupts(work: Callable[[], Any], directory: str) -> None:
    """Do the work; say what is left of it where Ctrl-C or SIGTERM interrupts it.

    Raises:
        InterruptedRun: it was interrupted.
    """
    try:
        work()
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"interrupted: what is finished is kept in {directory}; the same command goes on from there"
        ) from None


def exit_code(error: BaseException, *, verbose: bool) -> int:
    """Print an error in one line (with `verbose` its traceback, too), and return the exit code that it calls for."""
    if hasattr(error, "exit_code") and not hasattr(error, "show"):  # typer.Exit: help was shown
        return int(error.exit_code)
    if type(error).__name__ == "Abort":  # the same of older versions of Typer
        error = KeyboardInterrupt()
    if hasattr(error, "show") and hasattr(error, "format_message"):  # click's own: a missing argument, a bad option
        _say(f"{error.format_message()} (see stg-ray --help)")
        return 2
    if isinstance(error, SystemExit) and error.code == 0:
        return 0  # a shell was told how to complete
    if isinstance(error, BrokenPipeError | SystemExit):
        return 1  # whoever read the output is gone (Typer makes an exit of it): there is nobody to tell
    if verbose:
        traceback.print_exception(error)
    if isinstance(error, StgRayError | KeyboardInterrupt):
        text = str(error) or "interrupted"
        _say(text if isinstance(error, InputError | InterruptedRun) else _with_needs(text))
        if isinstance(error, InterruptedRun | KeyboardInterrupt):
            return INTERRUPTED
        return 2 if isinstance(error, InputError) else 1
    if isinstance(error, OSError) and _is_of_output(error):
        _say(f"the output cannot be written ({one_line(error)}): send it to another place")
    elif (needs := _needs(error)) is not None:
        _say(f"{needs}: {KEPT}")
    elif not verbose:
        _say(f"{type(error).__name__}: {one_line(error)} (--verbose shows where)")
    return 1


def _is_of_output(error: BaseException) -> bool:
    """Whether the output could not be written, rather than a file: what raised the error does nothing but print."""
    steps = [frame.f_globals for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(steps) and (steps[-1] is globals() or steps[-1]["__name__"].partition(".")[0] in PRINTING)


def _with_needs(text: str) -> str:
    """Add what the system had too little of to the message of a worker that met an error of the system's."""
    number = re.search(r"\[Errno (\d+)\]", text)
    needs = NEEDS.get(int(number[1])) if number else None
    return text if needs is None or needs in text else f"{text}; {needs}: {KEPT}"


def _needs(error: BaseException) -> str | None:
    """Say what there was too little of, where that is what an exception means: memory, room on the disk, files."""
    text = one_line(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in TOO_LITTLE_MEMORY):
        return f"there was too little memory ({text}; see ulimit -v and ulimit -u, and use fewer workers or rows)"
    if isinstance(error, OSError) and error.errno in NEEDS:
        return f"{NEEDS[error.errno]} ({text})"
    return None


def plain_warnings() -> None:
    """Print warnings of this package as one line each, without the line of code that they come from."""
    of_others = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, UserWarning) and Path(filename).is_relative_to(Path(__file__).parent):
            return f"stg-ray: warning: {shown(' '.join(str(message).split()))}\n"
        return of_others(message, category, filename, lineno, line)

    warnings.formatwarning = formatted


def _say(text: str) -> None:
    with suppress(OSError):  # the exit code tells it as well
        print(shown(f"stg-ray: {text}"), file=sys.stderr)
