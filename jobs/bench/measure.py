"""Helpers of the benchmarks: peak anonymous memory of a process, medians of alternating sides, and the output."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def run_measured(arguments: Sequence[str]) -> tuple[float, float]:
    """Run a Python program; its seconds, and the peak of its anonymous memory (RssAnon; mapped files are left out) in
    MiB, looked at a hundred times a second."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments])
    peak = 0
    while process.poll() is None:
        try:
            with open(f"/proc/{process.pid}/status") as status:
                peak = max(peak, *(int(line.split()[1]) for line in status if line.startswith("RssAnon")), 0)
        except OSError:  # it has just ended
            break
        time.sleep(0.01)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with exit code {process.returncode}")
    return time.monotonic() - began, peak / 1024


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def worked(work: Callable[[], object]) -> float:
    """Seconds that this process computes for it, whatever else the machine does."""
    began = time.process_time()
    work()
    return time.process_time() - began


def alternate(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of what each side returns, the sides taken in turn: a busy moment of the machine meets all of them."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            values[name].append(side())
    return {name: statistics.median(own) for name, own in values.items()}


def show(title: str, rows: Sequence[tuple[str, str, str]], result: dict[str, Any]) -> None:
    """A table of (what, measured, expected), and the result as one line of JSON, the last; NaN is null in it."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("what", "measured", "expected"):
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
    print(json.dumps(_without_nan(result), allow_nan=False), flush=True)


def _without_nan(value: object) -> object:
    """Return a result with None for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _without_nan(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
