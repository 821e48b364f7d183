"""The exceptions of stg_ray: one base class, so that a caller can catch everything of ours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StgRayError(Exception):
    """Something went wrong in a run. The message says what was found, what was expected and what to do."""


class InputError(StgRayError):
    """The input (configuration, data, run directory) is wrong: nothing was run, nothing was lost."""


class InterruptedRun(StgRayError):
    """The run was stopped from outside (Ctrl-C, SIGTERM); what had been finished is kept."""


class PartlyFailed(StgRayError):
    """Some of a stage failed. What it leaves is of use to later stages, but the run fails in the end."""


def one_line(error: BaseException) -> str:
    """The message of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def unknown(name: object, known: Iterable[str], what: str) -> str:
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {str(name)!r}: {hint}"
