"""What the workers of a trial report to Ray Train, handed on to Ray Tune.

Ray has a callback for it, `TuneReportCallback`. Up to Ray 2.60 at least, a trial can wait forever with it: its main
thread takes the last report of the workers and puts it into a queue of length one, which the trial's own thread has
just filled with the note that the training is over. Here the thread of the trial reports, as in a trial of one worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ray.train import UserCallback

if TYPE_CHECKING:
    from ray.util.queue import Queue


class Forward(UserCallback):  # type: ignore[misc]  # Ray's types are skipped, so its classes are Any
    """A callback of Ray Train that puts what the first worker reports into a queue.

    Args:
        reports: which the trial reads by `forward`.
    """

    def __init__(self, reports: Queue) -> None:
        self.reports = reports

    def after_report(self, *, metrics: Sequence[Mapping[str, Any]], **_info: Any) -> None:
        """Hand on the report of the first worker: all of them report the same."""
        self.reports.put(dict(metrics[0]))


def forward(reports: Queue) -> None:
    """Report to Ray Tune, in a trial of it, what is in the queue."""
    from ray import tune

    while not reports.empty():
        tune.report(reports.get())
