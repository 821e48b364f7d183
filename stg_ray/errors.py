"""The exceptions of stg_ray: one base class, so that a caller can catch all of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StgRayError(Exception):
    """A run that went wrong. The message says what was met, what was expected and what to do.

    Example:
        >>> import stg_ray as sr
        >>> try:
        ...     sr.load_config("digts")
        ... except sr.StgRayError as error:
        ...     print(error)
        unknown preset 'digts': did you mean 'digits'? (or a configuration file that ends in .yaml)
    """


class InputError(StgRayError, ValueError):
    """Wrong input (configuration, data, run directory): nothing was run, nothing was lost.

    It is a ValueError too, as Python's and scikit-learn's functions raise for a wrong argument.

    Example:
        >>> import stg_ray as sr
        >>> issubclass(sr.InputError, sr.StgRayError) and issubclass(sr.InputError, ValueError)
        True
    """


class NotHere(InputError):
    """A file or folder is in none of the places where its name is looked up.

    Attributes:
        name: a path or pattern, as from the current directory.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message)
        self.name = name


class InterruptedRun(StgRayError):
    """A run stopped from outside (Ctrl-C, SIGTERM); finished work is kept."""


class PartlyFailed(StgRayError):
    """A stage of which some failed. Later stages can use the rest, but the run fails in the end."""


def one_line(error: BaseException) -> str:
    """Return the message of an exception in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """Return the known name that is most likely meant: one that begins with this, else a similar one; None if none is.

    Example:
        >>> nearest("acc", ["jaccard", "accuracy"]), nearest("jacard", ["jaccard", "accuracy"]), nearest("x", ["y"])
        ('accuracy', 'jaccard', None)
    """
    known = list(known)
    begun = [each for each in known if len(name) > 1 and each.startswith(name)]
    similar = difflib.get_close_matches(name, begun or known, n=1, cutoff=0.0 if begun else cutoff)
    return similar[0] if similar else None


def unknown(name: object, known: Iterable[str], what: str) -> str:
    """Return the message for an unknown name, with the nearest known one or else all of them."""
    known = list(known)
    near = nearest(str(name), known)
    hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {str(name)!r}: {hint}"
