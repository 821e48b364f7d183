"""What the figures share: where they read from, how they look, and how tasks are named in them."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING, Any, Protocol

from stg_ray.artifacts.groups import Serving
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.report.charts.palette import COLORS
from stg_ray.report.evidence import Evidence
from stg_ray.report.summary import PlanRow
from stg_ray.shown import shown_name

if TYPE_CHECKING:
    import numpy as np
    import plotly.graph_objects as go

SYMBOLS: dict[Serving, str] = {"argmax": "circle", "ensemble": "diamond"}
ROW_HEIGHT = 22
"""Pixels of a task's row."""
MAX_NAMED = 20
"""Tasks of a group that are named where the pointer is on it."""
MAX_LABELLED = 80
"""Number of tasks up to which their names are shown."""


class HasRunDir(Protocol):
    """A run, as `sr.run` returns it."""

    @property
    def run_dir(self) -> RunDir:
        """Directory of the run."""


Source = HasRunDir | str | os.PathLike[str]
"""A run, or its directory as a path or URI."""


def evidence_of(run: Source) -> Evidence:
    """Open the run of a figure."""
    run_dir = RunDir(run) if isinstance(run, str | os.PathLike) else run.run_dir
    config = run_dir.read_config()
    run_dir.require("retrain", config)
    return Evidence(run_dir, as_tuned(run_dir, config))


def new_figure(**layout: Any) -> go.Figure:
    """Make an empty figure in the style of all."""
    import plotly.graph_objects as go

    margin = {"l": 10, "r": 10, "t": 50 if "title" in layout else 30, "b": 10}
    font = {"family": "system-ui, sans-serif", "size": 13}
    return go.Figure().update_layout(template="plotly_white", font=font, margin=margin, **layout)


def name_rows(figure: go.Figure, n_tasks: int) -> None:
    """Name the tasks beside their rows, where there is room."""
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=n_tasks <= MAX_LABELLED)


def names_of(evidence: Evidence, order: np.ndarray | None = None) -> list[str]:
    """The names of the tasks in this order, by default of all group by group."""
    return [escaped(evidence.groups.tasks[t]) for t in (evidence.order if order is None else order)]


def escaped(name: str) -> str:
    """Return a name as Plotly shows it literally."""
    return html.escape(shown_name(name))


def marker_of(row: PlanRow) -> dict[str, str]:
    """Return a plan's colour, and a symbol for the way it is served; open where it starts from the profiled network."""
    is_open = "-open" if row.plan.beside_scratch else ""
    return {"color": COLORS[row.plan.base], "symbol": SYMBOLS[row.serving] + is_open}
