"""What Prometheus is told of a run, through the metrics endpoints of Ray's nodes (`ray.util.metrics`).

Ray puts `ray_` before the names. Samples are counted where they are trained on, so that
`rate(ray_stg_ray_samples_total[1m])` is samples per second, of all runs, of one, or of a stage.
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


class SampleCounter:
    """Counts the training samples of a process."""

    def __init__(self, run: Storage, stage: str) -> None:
        self.tags = _tags(run, stage)
        self.waiting = 0
        self.told = time.monotonic()

    def add(self, n_samples: int) -> None:
        """Samples of a step; they are passed on once a second."""
        self.waiting += n_samples
        if time.monotonic() - self.told >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.waiting:
            _metric("Counter", "samples", "Samples that networks were trained on.").inc(self.waiting, self.tags)
        self.waiting, self.told = 0, time.monotonic()


def tell(run: Storage, stage: str, name: str, value: float) -> None:
    """Set one of `GAUGES`."""
    _metric("Gauge", name, GAUGES[name]).set(value, _tags(run, stage))


def _tags(run: Storage, stage: str) -> dict[str, str]:
    return {"run": run.root.rstrip("/").rpartition("/")[2], "stage": stage}


@cache
def _metric(kind: str, name: str, about: str) -> Any:
    from ray.util import metrics

    return getattr(metrics, kind)(f"stg_ray_{name}", about, TAGS)
