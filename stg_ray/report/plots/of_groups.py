"""Figures of groups: affinities, the graph of the tasks, memberships, and the choice of the number of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stg_ray.errors import InputError, unknown
from stg_ray.report.charts.graph import mean_ranks, nearest_pairs, places
from stg_ray.report.charts.palette import COLORS, group_colors
from stg_ray.report.plots.common import (
    MAX_LABELLED,
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


def affinity(run: Source, method: str | None = None) -> go.Figure:
    """Draw a K x K affinity with the tasks in the order of their groups.

    Args:
        method: of `affinity.methods`; the first one if not given.

    Raises:
        InputError: the run has no such affinity.
    """
    evidence = evidence_of(run)
    method = next(iter(evidence.matrices)) if method is None else method
    if method not in evidence.matrices:
        raise InputError(unknown(method, evidence.matrices, "affinity"))
    matrix, names, order = evidence.matrices[method], names_of(evidence), evidence.order
    values = matrix.values[np.ix_(order, order)].astype(np.float64)
    np.fill_diagonal(values, np.nan)
    shown_names = len(names) <= MAX_LABELLED
    figure = new_figure(height=min(900, 240 + (ROW_HEIGHT * len(names) if shown_names else 480)))
    figure.add_heatmap(
        z=values,
        x=names,
        y=names,
        colorscale="Viridis",
        reversescale=matrix.kind == "distance",
        colorbar={"title": matrix.kind},
        hovertemplate="%{y}<br>%{x}<br>%{z:.4g}<extra></extra>",
    )
    for edge in np.cumsum(np.bincount(evidence.groups.labels))[:-1]:
        figure.add_vline(edge - 0.5, line_color="white", line_width=2)
        figure.add_hline(edge - 0.5, line_color="white", line_width=2)
    name_rows(figure, len(names))
    figure.update_xaxes(type="category", showticklabels=shown_names, tickangle=45)
    return figure


def graph(run: Source) -> go.Figure:
    """Draw the tasks as points in the colours of their groups, each joined to the three that are most alike."""
    evidence = evidence_of(run)
    ranks = mean_ranks(list(evidence.matrices.values()))
    labels = evidence.groups.labels
    at, colors = places(ranks, labels), group_colors(len(evidence.groups.groups))
    figure = new_figure(height=560, showlegend=False)
    ends = [(at[a], at[b]) for a, b in nearest_pairs(ranks)]
    lines = {name: [v for a, b in ends for v in (a[axis], b[axis], None)] for axis, name in enumerate("xy")}
    figure.add_scatter(**lines, mode="lines", line={"color": "#c3ccc8", "width": 1}, hoverinfo="skip")
    named = len(labels) <= MAX_LABELLED
    figure.add_scatter(
        x=at[:, 0],
        y=at[:, 1],
        mode="markers+text" if named else "markers",
        text=[escaped(name) for name in evidence.groups.tasks],
        textposition="middle right",
        marker={"size": 12, "color": [colors[g] for g in labels]},
        hovertemplate="%{text}<extra></extra>",
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def memberships(run: Source) -> go.Figure:
    """Draw how much each task belongs to each group, tasks in the order of their groups."""
    evidence = evidence_of(run)
    names = names_of(evidence)
    figure = new_figure(height=140 + ROW_HEIGHT * len(names), barmode="stack")
    shares = np.array(evidence.groups.membership)[evidence.order]
    for g, color in enumerate(group_colors(shares.shape[1])):
        label = f"{g}: {escaped(evidence.centres[g])}"
        figure.add_bar(x=shares[:, g], y=names, name=label, orientation="h", marker_color=color)
    name_rows(figure, len(names))
    figure.update_xaxes(title="membership")
    return figure


def number_of_groups(run: Source) -> go.Figure:
    """Draw the criterion by number of groups.

    Raises:
        InputError: that number was given, not chosen.
    """
    choice = evidence_of(run).groups.number_choice
    if choice is None or not choice.curve:
        raise InputError("the number of groups of this run was not chosen: set grouping.groups=auto")
    numbers = list(choice.curve)
    figure = new_figure(height=300)
    figure.add_scatter(x=numbers, y=list(choice.curve.values()), mode="lines+markers", marker_color=COLORS["ours"])
    figure.update_xaxes(title="number of groups", dtick=1 if len(numbers) < 16 else None)
    figure.update_yaxes(
        title={"silhouette": "mean silhouette", "bic": "minus BIC"}.get(choice.criterion, choice.criterion)
    )
    return figure
