"""Figures of plans: what was gained over one network, on all tasks and on each, and what a search measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stg_ray.errors import InputError
from stg_ray.report.charts.palette import COLORS
from stg_ray.report.plots.common import (
    MAX_NAMED,
    ROW_HEIGHT,
    Source,
    escaped,
    evidence_of,
    marker_of,
    name_rows,
    names_of,
    new_figure,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go


def plans(run: Source) -> go.Figure:
    """Draw the difference of each plan to all in one, with its 95 % interval.

    Raises:
        InputError: no plan was compared.
    """
    evidence = evidence_of(run)
    rows = [row for row in evidence.summary.plans if row.difference is not None]
    if not rows:
        raise InputError("no plan of this run was compared with all_in_one: add both to retrain.plans")
    figure = new_figure(height=110 + 40 * len(rows))
    for row in reversed(rows):
        d = row.difference
        assert d is not None
        error = {"type": "data", "symmetric": False, "array": [d.high - d.mean], "arrayminus": [d.mean - d.low]}
        figure.add_scatter(
            x=[d.mean],
            y=[row.title],
            error_x=error if d.is_known else None,
            mode="markers",
            marker={"size": 11, **marker_of(row)},
            showlegend=False,
        )
    figure.add_vline(x=0, line_color="#999", line_dash="dot")
    figure.update_xaxes(title=f"{evidence.summary.metric} minus that of all in one (95 % interval)")
    return figure


def tasks(run: Source) -> go.Figure:
    """Draw every task's metric under every plan, tasks in the order of their groups.

    Raises:
        InputError: nothing was trained.
    """
    evidence = evidence_of(run)
    if not evidence.summary.plans:
        raise InputError("this run trained no plans: name some in retrain.plans")
    names = names_of(evidence)
    figure = new_figure(height=140 + ROW_HEIGHT * len(names), legend={"orientation": "h", "y": 1.06})
    for row in evidence.summary.plans:
        marker = {"size": 9, "opacity": 0.85, **marker_of(row)}
        means = row.values[evidence.order].mean(axis=1)
        figure.add_scatter(x=means, y=names, mode="markers", name=row.title, marker=marker)
    name_rows(figure, len(names))
    figure.update_xaxes(title=f"{evidence.summary.metric.removeprefix('mean ')} on test rows, mean over trainings")
    return figure


def search(run: Source) -> go.Figure:
    """Draw the mean gain of each group that a search measured, by its size.

    Raises:
        InputError: there was no search.
    """
    found = evidence_of(run).summary.search
    if found is None:
        raise InputError("this run searched for no groups: add searched to retrain.plans")
    chosen = {tuple(sorted(members)) for members in found["groups"]}
    figure = new_figure(height=320, legend={"orientation": "h", "y": 1.1})
    for name, is_chosen in (("measured", False), ("of the plan", True)):
        rows = [
            row for row in found["measured"] if (tuple(sorted(row["tasks"])) in chosen) == is_chosen and row["gains"]
        ]
        figure.add_scatter(
            x=[len(row["tasks"]) for row in rows],
            y=[float(np.mean(list(row["gains"].values()))) for row in rows],
            text=[", ".join(map(escaped, row["tasks"][:MAX_NAMED])) for row in rows],
            mode="markers",
            name=name,
            marker={"size": 14 if is_chosen else 8, "color": COLORS["searched" if is_chosen else "all_in_one"]},
            hovertemplate="%{text}<br>%{x} tasks, %{y:+.4f}<extra></extra>",
        )
    figure.add_hline(y=0, line_color="#999", line_dash="dot")
    figure.update_xaxes(title="tasks of the group")
    figure.update_yaxes(title="mean gain on validation rows")
    return figure
