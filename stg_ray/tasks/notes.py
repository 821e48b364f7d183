"""Warnings about data that may not be meant, which a run and a plan show beside what was understood."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


class DataWarning(UserWarning):
    """Something in the data that is allowed, and may not be meant: files left out, numbers of rows as a feature."""


@contextmanager
def noted() -> Iterator[list[str]]:
    """Gather the warnings about data in a `with` block, each message once; all others are shown as ever.

    Example:
        >>> import warnings
        >>> with noted() as notes:
        ...     warnings.warn("2 files are left out", DataWarning)
        >>> notes
        ['2 files are left out']
    """
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        yield notes
    for warning in caught:
        if issubclass(warning.category, DataWarning):
            notes.append(" ".join(str(warning.message).split()))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    notes[:] = dict.fromkeys(notes)
