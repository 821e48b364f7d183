"""What a run tells while it works: one line a stage, with what is left. Not a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

PLAIN_SECONDS = 10.0
PATIENCE_SECONDS = 60.0


class Reporter:
    """Stage lines on a console: a moving bar on a terminal, a line now and then elsewhere (job logs, files)."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageProgress]:
        began = time.monotonic()
        progress = _Bar(self.console, name) if self.console.is_terminal else _Lines(self.console, name)
        with progress:
            yield progress
        detail = f"  {progress.summary}" if progress.summary else ""
        self.console.print(f"{name:<9} done in {time.monotonic() - began:5.1f} s{detail}", markup=False)


class StageProgress:
    """How far a stage is: `update(done, total, unit)`; `summary` is said at its end."""

    def __init__(self, console: Console, name: str) -> None:
        self.console = console
        self.name = name
        self.summary = ""
        self.opened = time.monotonic()
        self.has_waited = False

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, done: float, total: float, unit: str) -> None:
        raise NotImplementedError

    def note(self, text: str) -> None:
        """A line of its own: something that is not as it was asked for."""
        self.console.print(f"{self.name:<9} {text}", markup=False)

    def waits_for(self, what: str) -> None:
        """Called while nothing has begun: after a minute it is said once, because what is waited for may be held by
        others."""
        if not self.has_waited and time.monotonic() - self.opened > PATIENCE_SECONDS:
            self.has_waited = True
            self.note(f"waits for {what}: it is starting, or others use it (see ray status)")


class _Bar(StageProgress):
    def __enter__(self) -> StageProgress:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.bar = self.progress.add_task(self.name, total=None, unit="starting")
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, done: float, total: float, unit: str) -> None:
        self.progress.update(self.bar, completed=done, total=total, unit=unit)


class _Lines(StageProgress):
    def __enter__(self) -> StageProgress:
        self.last = time.monotonic()
        self.first: tuple[float, float] | None = None
        return self

    def update(self, done: float, total: float, unit: str) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = (now, done)  # the rate is measured from here, without the time that starting took
        if now - self.last < PLAIN_SECONDS or done >= total:
            return
        self.last = now
        elapsed, steps = now - self.first[0], done - self.first[1]
        left = f", about {elapsed / steps * (total - done):.0f} s left" if steps > 0 else ""
        self.console.print(f"{self.name:<9} {done:.0f} of {total:.0f} {unit}{left}", markup=False)
