"""Time that passes when a test says so."""

from __future__ import annotations


class Clock:
    """Seconds that a test lets pass; its `monotonic` takes the place of `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return the time that it is."""
        return self.now
