"""Work beside a training, such as its checkpoints, that is done as often as its own cost allows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

SHARE = 0.02
"""Most of the time that such work takes."""


class Sparingly:
    """Work that is done after the first epoch and then as soon as it takes at most `SHARE` of the time since.

    What a kill costs is so bounded in seconds, at fifty times the cost of a checkpoint, and not in epochs: those of a
    small network are shorter than what it takes to keep them.

    Example:
        >>> checkpoints = Sparingly()
        >>> checkpoints.is_due
        True
        >>> checkpoints.do(lambda: "saved")
        'saved'
    """

    def __init__(self) -> None:
        self.ended = -float("inf")
        self.cost = 0.0

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed."""
        return time.monotonic() - self.ended >= self.cost / SHARE

    def do(self, work: Callable[[], Result]) -> Result:
        """Do the work, and measure its cost."""
        began = time.monotonic()
        result = work()
        self.ended = time.monotonic()
        self.cost = self.ended - began
        return result
