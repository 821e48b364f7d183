"""Progress of a run on a console: one line for each stage, with the time that is left. Not a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from stg_ray.shown import rough_time, shown

LINE_SECONDS = 10.0
"""Time between two lines where there is no terminal."""
PACE_SECONDS = 3.0
"""Time of work from which a pace is told."""
WORTH_SAYING = (1.1, 5.0)
"""The time left of the whole run is shown where it is so many times that of the stage, and so many seconds more."""
NARROW = 110
"""Columns of a terminal up to which the bar takes what texts leave."""
PATIENCE_SECONDS = 60.0
"""Time after which a stage that has not begun says what it waits for."""


@dataclass(frozen=True)
class Standing:
    """How far a stage is.

    Attributes:
        stage: its name.
        spent: seconds since it began.
        left: seconds until it is over; None while its pace is not known.
        work: seconds that all its work takes at that pace, from the first piece to the last.
        has_more: whether other work of the stage comes after that, of which neither tells anything.
    """

    stage: str
    spent: float
    left: float | None
    work: float | None
    has_more: bool = False


@dataclass(frozen=True)
class Left:
    """Seconds until a run is over, and whether they are the most that it may take."""

    seconds: float
    is_bound: bool


class Reporter:
    """A reporter of stages on a console: a moving bar on a terminal, a line now and then elsewhere (job logs, files).

    Args:
        console: by default the standard output.

    Attributes:
        whole: the time that the run has left, over all stages, where it is to be shown.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.whole = WholeRun()

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(shown(text), markup=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[StageProgress]:
        """Show the progress of a stage during a `with` block, and its time and summary at the end."""
        began = time.monotonic()
        progress = _Bar(self.console, name) if self.console.is_terminal else _Lines(self.console, name)
        progress.whole = self.whole
        with progress:
            yield progress
        detail = f"  {progress.summary}" if progress.summary else ""
        self.say(f"{name:<9} done in {time.monotonic() - began:5.1f} s{detail}")


class TimeLeft:
    """The time that work still takes, by its pace so far; it never rises from one look to the next.

    The first pieces of work are slow: processes start. So the pace is that since the first piece was done, and an
    estimate that is too low stays where it is until the work has caught up with it.
    """

    def __init__(self) -> None:
        self.first: tuple[float, float] | None = None
        self.pace: float | None = None
        self.last: float | None = None

    def after(self, done: float, total: float, before: float = 0) -> float | None:
        """Return the seconds that are left; None while nothing is known.

        Args:
            before: how much of what is done was done by others before, which tells no pace.
        """
        now, own = time.monotonic(), done - before
        if own <= 0:
            return None
        if self.first is None:
            self.first = (now, own)
            return None
        elapsed, steps = now - self.first[0], own - self.first[1]
        if steps <= 0 or elapsed < PACE_SECONDS:
            return self.last
        self.pace = elapsed / steps
        left = self.pace * (total - done)
        self.last = left if self.last is None else min(self.last, left)
        return self.last


class WholeRun:
    """The time until a run is over, all stages together; like that of a stage it never rises.

    Attributes:
        ahead: estimates it from how far the present stage is; it is set by who knows the stages that are to come.
    """

    def __init__(self) -> None:
        self.ahead: Callable[[Standing], Left | None] | None = None
        self.last: float | None = None

    def words(self, now: Standing) -> str:
        """Return the time in words; empty where it is not known, or says no more than that of the stage."""
        left = self.ahead(now) if self.ahead else None
        if left is None:
            return ""
        self.last = left.seconds if self.last is None else min(self.last, left.seconds)
        times, more = WORTH_SAYING
        if self.last < 1 or (now.left is not None and self.last < max(times * now.left, more + now.left)):
            return ""
        word = "at most" if left.is_bound else "about" if now.left is None else ""  # the stage's says about
        return f"{rough_time(self.last, word).strip()} to the end"


def in_words(seconds: float | None) -> str:
    """Return a time that is left in words, empty where it is not known."""
    return "" if seconds is None else f"{rough_time(seconds)} left"


class StageProgress:
    """The progress of one stage.

    Attributes:
        summary: a text that is printed when the stage is done.
        has_more: whether the work whose progress is shown is followed by other work of the stage.
    """

    def __init__(self, console: Console, name: str) -> None:
        self.console = console
        self.name = name
        self.summary = ""
        self.has_more = False
        self.whole = WholeRun()
        self.left = TimeLeft()
        self.began = self.opened = time.monotonic()
        self.has_waited = False

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        """Show how much of the stage is done.

        Args:
            unit: the plural of what is counted, such as `epochs`.
            before: how much of it an interrupted run had done, which tells no pace.
        """
        raise NotImplementedError

    def left_in_words(self, done: float, total: float, before: float = 0) -> str:
        """Return the time that is left of the stage, and of the run, as far as they are known."""
        left = self.left.after(done, total, before)
        work = None if self.left.pace is None else self.left.pace * total
        now = Standing(self.name, time.monotonic() - self.began, left, work, self.has_more)
        return ", ".join(filter(None, (in_words(left), self.whole.words(now))))

    def note(self, text: str) -> None:
        """Print a line about the stage, such as a request that could not be met."""
        self.console.print(shown(f"{self.name:<9} {text}"), markup=False)

    def begins_to_wait(self) -> None:
        """Take note that work is asked for from now on, after other work of the stage, whose pace was another."""
        self.opened = time.monotonic()
        self.left = TimeLeft()

    def waits_for(self, resources: str) -> None:
        """Report resources that the stage waits for, once, if it still does after `PATIENCE_SECONDS`.

        A stage calls this again and again until its work has begun.
        """
        if not self.has_waited and time.monotonic() - self.opened > PATIENCE_SECONDS:
            self.has_waited = True
            self.note(f"waiting for {resources} (starting, or in use; see ray status)")


class _Bar(StageProgress):
    """A moving bar on a terminal."""

    def __enter__(self) -> StageProgress:
        is_narrow = self.console.width <= NARROW
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None, table_column=Column(ratio=1)) if is_narrow else BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            transient=True,
            expand=is_narrow,
        )
        self.bar = self.progress.add_task(self.name, total=None, unit="starting", left="")
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        left = self.left_in_words(done, total, before)
        self.progress.update(self.bar, completed=done, total=total, unit=unit, left=left)


class _Lines(StageProgress):
    """A line every `LINE_SECONDS`, where there is something new."""

    def __enter__(self) -> StageProgress:
        self.said = time.monotonic()
        self.shown_done = -1.0
        return self

    def update(self, done: float, total: float, unit: str, before: float = 0) -> None:
        left = self.left_in_words(done, total, before)
        now = time.monotonic()
        if now - self.said < LINE_SECONDS or done >= total or done == self.shown_done:
            return
        self.said, self.shown_done = now, done
        self.note(f"{done:.0f} of {total:.0f} {unit}{left and f', {left}'}")
