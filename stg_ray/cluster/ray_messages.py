"""What Ray says of lost nodes and full memories while a run goes on, in a line each."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

AT_LENGTH = re.compile(r"\s*(Last \d+ lines|Possible reasons include|This can happen when|Owner Id: )")
"""Where a message goes on with guesses, with numbers, and with the last lines of a log."""


def brief(message: str) -> str:
    """Return what a message of Ray's says, without its guesses, numbers and the lines of a log.

    Example:
        >>> brief("Raylet is terminated. Possible reasons include: (1) SIGKILL. Last 20 lines of the Raylet logs:")
        'Raylet is terminated.'
        >>> brief("The actor is dead because its owner has died. Owner Id: 0100ff Owner Ip address: 127.0.0.1 Owner")
        'The actor is dead because its owner has died.'
    """
    lines = AT_LENGTH.split(message, maxsplit=1)[0].strip().splitlines()
    return lines[0].strip() if lines else ""


@contextmanager
def in_brief() -> Iterator[None]:
    """Let a session that is begun within the block print each message of Ray's once and in one line, on stderr.

    Ray prints them even where it is to print nothing: of a node that is lost twice thirty lines.
    """
    from ray._private import worker

    before = getattr(worker, "print_to_stdstream", None)
    if before is None:  # another version of Ray
        yield
        return
    told: set[str] = set()

    def tell(data: Mapping[str, Any], **_options: object) -> None:
        for message in map(brief, data["lines"]):
            if message and message not in told:
                told.add(message)
                print(f"Ray says: {message}", file=sys.stderr, flush=True)

    worker.print_to_stdstream = tell
    try:
        yield
    finally:
        worker.print_to_stdstream = before
