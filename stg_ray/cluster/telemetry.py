"""Metrics of a run for Prometheus, through the metrics endpoints of Ray's nodes (`ray.util.metrics`).

Ray prefixes their names with `ray_`. Every process counts the samples that it trains on, so
`rate(ray_stg_ray_samples_total[1m])` is samples per second, of all runs, of one run, or of one stage.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from stg_ray.artifacts.storage import Storage

FLUSH_SECONDS = 1.0
TAGS = ("run", "stage")
GAUGES = {
    "parts_done": "Units of the affinities whose sums are there.",
    "trials_running": "Networks that are being trained.",
}
"""Descriptions by name."""


class SampleCounter:
    """A counter of the samples that this process trains on.

    Args:
        run: the run directory; its last component is the tag `run`.
        stage: the tag `stage`.
    """

    def __init__(self, run: Storage, stage: str) -> None:
        self.tags = _tags(run, stage)
        self.pending = 0
        self.flushed = time.monotonic()

    def add(self, n_samples: int) -> None:
        """Count the samples of a step; Ray gets them once every `FLUSH_SECONDS`."""
        self.pending += n_samples
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Pass the samples that are still pending to Ray."""
        if self.pending:
            _metric("Counter", "samples", "Samples that networks were trained on.").inc(self.pending, self.tags)
        self.pending, self.flushed = 0, time.monotonic()


def set_gauge(run: Storage, stage: str, name: str, value: float) -> None:
    """Set one of the `GAUGES` of a run."""
    _metric("Gauge", name, GAUGES[name]).set(value, _tags(run, stage))


def _tags(run: Storage, stage: str) -> dict[str, str]:
    """Return the tags of a run; letters beyond ASCII, which Ray refuses, become escapes such as \\xe9."""
    name = run.root.rstrip("/").rpartition("/")[2]
    return {"run": name.encode("ascii", "backslashreplace").decode("ascii"), "stage": stage}


@cache
def _metric(kind: str, name: str, about: str) -> Any:
    from ray.util import metrics

    return getattr(metrics, kind)(f"stg_ray_{name}", about, TAGS)
