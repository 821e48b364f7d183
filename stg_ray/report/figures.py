"""Figures of the page. Task names are escaped, because Plotly renders some markup in its texts."""

from __future__ import annotations

import html

import numpy as np
import plotly.graph_objects as go

from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import PlanName
from stg_ray.report.summary import PlanRow, Summary

COLORS: dict[PlanName, str] = {
    "ours": "#0b6e4f",
    "searched": "#1f78b4",
    "ours_soft": "#3fa37c",
    "ours_and_all": "#7cc4a4",
    "branches": "#2a9d8f",
    "all_in_one": "#6c757d",
    "all_in_one_equal_cost": "#343a40",
    "all_in_one_ensemble": "#8d99a6",
    "random": "#d99a2b",
    "single_task": "#3a6ea5",
    "known": "#8e5ea2",
    "greedy": "#b5525c",
}
SYMBOLS = {"argmax": "circle", "ensemble": "diamond"}
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 10, "r": 10, "t": 30, "b": 10},
}
ROW_HEIGHT = 22
"""Pixels of a task's row."""
MAX_NAMED = 20
"""Tasks of a group that are named where the pointer is on it."""
MAX_LABELLED = 80
"""Number of tasks up to which their names are shown."""


def plans(summary: Summary) -> go.Figure | None:
    """Draw the difference of each plan to all-in-one, with its interval; None where no plan has one."""
    rows = [row for row in summary.plans if row.difference is not None]
    if not rows:
        return None
    figure = go.Figure()
    for row in reversed(rows):
        d = row.difference
        assert d is not None
        figure.add_trace(
            go.Scatter(
                x=[d.mean],
                y=[row.title],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [d.high - d.mean],
                    "arrayminus": [d.mean - d.low],
                }
                if d.is_known
                else None,
                mode="markers",
                marker={"size": 11, **_marker(row)},
                showlegend=False,
            )
        )
    figure.add_vline(x=0, line_color="#999", line_dash="dot")
    figure.update_layout(**LAYOUT, height=110 + 40 * len(rows))
    figure.update_xaxes(title=f"{summary.metric} minus that of all in one (95 % interval)")
    return figure


def tasks(summary: Summary) -> go.Figure | None:
    """Draw every task's metric under every plan, tasks in the order of their groups; None where nothing was trained."""
    if not summary.plans:
        return None
    order = _order(summary)
    names = [html.escape(summary.index.names[t]) for t in order]
    figure = go.Figure()
    for row in summary.plans:
        figure.add_trace(
            go.Scatter(
                x=row.values[order].mean(axis=1),
                y=names,
                mode="markers",
                name=row.title,
                marker={"size": 9, "opacity": 0.85, **_marker(row)},
            )
        )
    figure.update_layout(**LAYOUT, height=140 + ROW_HEIGHT * len(names), legend={"orientation": "h", "y": 1.06})
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=len(names) <= MAX_LABELLED)
    figure.update_xaxes(title=f"{summary.metric.removeprefix('mean ')} on test rows, mean over trainings")
    return figure


def matrix(summary: Summary, values: TaskMatrix) -> go.Figure:
    """Draw a K x K matrix with the tasks in the order of their groups."""
    order = _order(summary)
    names = [html.escape(summary.index.names[t]) for t in order]
    ordered = values.values[np.ix_(order, order)].copy()
    np.fill_diagonal(ordered, np.nan)
    figure = go.Figure(
        go.Heatmap(
            z=ordered,
            x=names,
            y=names,
            colorscale="Viridis",
            reversescale=values.kind == "distance",
            colorbar={"title": values.kind},
            hovertemplate="%{y}<br>%{x}<br>%{z:.4g}<extra></extra>",
        )
    )
    for edge in np.cumsum(np.bincount(summary.groups.labels))[:-1]:
        for draw in (figure.add_vline, figure.add_hline):
            draw(edge - 0.5, line_color="white", line_width=2)
    shown = len(names) <= MAX_LABELLED
    side = 240 + (ROW_HEIGHT * len(names) if shown else 480)
    figure.update_layout(**LAYOUT, height=min(side, 900))
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=shown)
    figure.update_xaxes(type="category", showticklabels=shown, tickangle=45)
    return figure


def number_of_groups(summary: Summary) -> go.Figure | None:
    """Draw the criterion by number of groups; None where that number was given, not chosen."""
    choice = summary.groups.number_choice
    if choice is None or not choice.curve:
        return None
    criterion, numbers = choice.criterion, list(choice.curve)
    figure = go.Figure(go.Scatter(x=numbers, y=list(choice.curve.values()), mode="lines+markers", name="tasks"))
    figure.update_traces(marker_color=COLORS["ours"], line_color=COLORS["ours"])
    figure.update_layout(**LAYOUT, height=300)
    figure.update_xaxes(title="number of groups", dtick=1 if len(numbers) < 16 else None)
    figure.update_yaxes(title={"silhouette": "mean silhouette", "bic": "minus BIC"}.get(criterion, criterion))
    return figure


def search(summary: Summary) -> go.Figure | None:
    """Draw the mean gain of each group that a search measured, by its size; None where there was no search."""
    if summary.search is None:
        return None
    figure = go.Figure()
    found = {tuple(sorted(members)) for members in summary.search["groups"]}
    for name, is_found in (("measured", False), ("of the plan", True)):
        rows = [
            row
            for row in summary.search["measured"]
            if (tuple(sorted(row["tasks"])) in found) == is_found and row["gains"]
        ]
        figure.add_trace(
            go.Scatter(
                x=[len(row["tasks"]) for row in rows],
                y=[float(np.mean(list(row["gains"].values()))) for row in rows],
                text=[html.escape(", ".join(row["tasks"][:MAX_NAMED])) for row in rows],
                mode="markers",
                name=name,
                marker={"size": 14 if is_found else 8, "color": COLORS["searched" if is_found else "all_in_one"]},
                hovertemplate="%{text}<br>%{x} tasks, %{y:+.4f}<extra></extra>",
            )
        )
    figure.add_hline(y=0, line_color="#999", line_dash="dot")
    figure.update_layout(**LAYOUT, height=320, legend={"orientation": "h", "y": 1.1})
    figure.update_xaxes(title="tasks of the group")
    figure.update_yaxes(title="mean gain on validation rows")
    return figure


def regions(summary: Summary, shares: np.ndarray) -> go.Figure:
    """Draw the shares of easy, ambiguous and hard-to-learn samples of each task.

    Args:
        shares: (K, 3) shares in this order.
    """
    order = _order(summary)
    names = [html.escape(summary.index.names[t]) for t in order]
    figure = go.Figure()
    for column, (name, color) in enumerate(
        (("easy", "#9fd3c7"), ("ambiguous", "#f2c879"), ("hard to learn", "#c8553d"))
    ):
        figure.add_trace(go.Bar(x=shares[order, column], y=names, name=name, orientation="h", marker_color=color))
    figure.update_layout(
        **LAYOUT, barmode="stack", height=140 + ROW_HEIGHT * len(names), legend={"orientation": "h", "y": 1.06}
    )
    figure.update_yaxes(autorange="reversed", type="category", showticklabels=len(names) <= MAX_LABELLED)
    figure.update_xaxes(title="share of training samples", tickformat=".0%")
    return figure


def _marker(row: PlanRow) -> dict[str, str]:
    """Return a plan's colour, and a symbol for the way it is served; open where it starts from the profiled network."""
    is_open = "-open" if row.plan.beside_scratch else ""
    return {"color": COLORS[row.plan.base], "symbol": SYMBOLS[row.serving] + is_open}


def _order(summary: Summary) -> np.ndarray:
    """Return the indices of the tasks, group by group."""
    return np.argsort(summary.groups.labels, kind="stable")
