"""Figures of the profile: data maps, their regions, and the training itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stg_ray.data_maps.files import DataMap
from stg_ray.errors import InputError, unknown
from stg_ray.report.charts.palette import COLORS, group_colors
from stg_ray.report.evidence import REGIONS
from stg_ray.report.plots.common import (
    MAX_NAMED,
    ROW_HEIGHT,
    Source,
    escaped,
    evidence_of,
    name_rows,
    names_of,
    new_figure,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

REGION_COLORS = ("#9fd3c7", "#f2c879", "#c8553d")
MAX_POINTS = 20_000
"""Samples that a data map shows, the first of the parts, which are in random order."""


def data_map(run: Source, task: str) -> go.Figure:
    """Draw the data map of a task: its training samples by mean confidence and by variability.

    Raises:
        InputError: the run has no such task, or no data map of it.
    """
    evidence = evidence_of(run)
    names = evidence.summary.index.names
    if task not in names:
        raise InputError(unknown(task, names, "task"))
    if evidence.summary.index.tasks[names.index(task)].kind == "regression":
        raise InputError(f"task {task!r} has no data map, as it is a regression: see sr.plot.tasks")
    data = DataMap(evidence.run.uri)
    values = data[np.arange(min(len(data), MAX_POINTS))][:, names.index(task)]
    known = np.isfinite(values[:, 0])
    figure = new_figure(height=520, title={"text": escaped(task)})
    figure.add_scattergl(
        x=values[known, 1],
        y=values[known, 0],
        mode="markers",
        text=[f"sample {sample}" for sample in data.samples[: len(values)][known]],
        marker={"size": 5, "opacity": 0.5, "color": COLORS["ours"]},
    )
    figure.update_xaxes(title="variability")
    figure.update_yaxes(title="mean confidence in the true label", range=[0, 1])
    return figure


def regions(run: Source) -> go.Figure:
    """Draw the shares of easy, ambiguous and hard-to-learn samples of each task that has a data map.

    Raises:
        InputError: all tasks are regressions, which have no data map.
    """
    evidence = evidence_of(run)
    if evidence.regions is None:
        raise InputError("this run has no data map, as all its tasks are regressions: see sr.plot.tasks")
    order = evidence.order[evidence.regions[REGIONS[0]].notna().to_numpy()[evidence.order]]
    names = names_of(evidence, order)
    figure = new_figure(height=140 + ROW_HEIGHT * len(names), barmode="stack", legend={"orientation": "h", "y": 1.06})
    for region, color in zip(REGIONS, REGION_COLORS, strict=True):
        shares = evidence.regions[region].to_numpy()[order]
        figure.add_bar(x=shares, y=names, name=region.replace("_", " "), orientation="h", marker_color=color)
    name_rows(figure, len(names))
    figure.update_xaxes(title="share of training samples", tickformat=".0%")
    return figure


def training(run: Source, column: str = "confidence") -> go.Figure:
    """Draw each task's mean confidence, or its loss, in every epoch of the profile.

    Args:
        column: confidence or loss.

    Raises:
        InputError: the column is none of these, or the profile is not there.
    """
    evidence = evidence_of(run)
    if column not in ("confidence", "loss"):
        raise InputError(unknown(column, ("confidence", "loss"), "column"))
    if evidence.epochs is None:
        raise InputError("this run has no profile/metrics.parquet: run stg-ray profile again")
    by_epoch = evidence.epochs.pivot(index="epoch", columns="task", values=column)
    colors = group_colors(len(evidence.groups.groups))
    figure = new_figure(height=420, showlegend=len(by_epoch.columns) <= MAX_NAMED)
    for name in (evidence.groups.tasks[t] for t in evidence.order):
        line = {"color": colors[evidence.groups.serving[name]], "width": 1.5}
        figure.add_scatter(x=by_epoch.index, y=by_epoch[name], mode="lines", name=escaped(name), line=line)
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=column)
    return figure
