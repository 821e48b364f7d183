"""What the sections of the page show: affinities, number of groups, memberships, data maps, curves, the search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from stg_ray.report.charts.lines import Line, axes, known_points, line_chart
from stg_ray.report.charts.palette import COLORS
from stg_ray.report.charts.raster import maps_image, matrix_image, membership_image, tiles
from stg_ray.report.charts.svg import drawing, tag
from stg_ray.report.evidence import REGIONS, Evidence
from stg_ray.shown import shown_name

MOST_NAMED = 40
"""Number of tasks up to which a matrix names them beside its rows."""
MOST_LINES = 8
"""Curves of networks in a chart."""
SHARES = (10, 50, 90)
"""Percentiles of the tasks' curves."""
MAX_NAMED = 20
"""Tasks of a group that are named where the pointer is on it."""


@dataclass(frozen=True)
class Matrix:
    """An affinity as an image.

    Attributes:
        title: its name, in words.
        about: what its values are.
        kind: affinity or distance.
        image: data URI.
        low, high: values of the darkest and of the brightest colour.
        names: of the tasks in the order of the rows, where there is room for them.
        side: number of tasks.
    """

    title: str
    about: str
    kind: str
    image: str
    low: float
    high: float
    names: list[str]
    side: int


@dataclass(frozen=True)
class Maps:
    """The data maps of all tasks that have one, in one image: regressions have none.

    Attributes:
        image: data URI.
        columns, rows: of the maps in it.
        tasks: place among all tasks and name of each task, in their order there.
        shares: of the first one's regions.
    """

    image: str
    columns: int
    rows: int
    tasks: list[tuple[int, str]]
    shares: list[float]


def matrices_of(evidence: Evidence) -> list[Matrix]:
    """Return the run's affinities as images, with their tasks in the order of their groups."""
    found = []
    for name, matrix in evidence.matrices.items():
        image, low, high = matrix_image(matrix, evidence.order, len(evidence.matrices))
        names = [matrix.tasks[t] for t in evidence.order] if len(matrix.tasks) <= MOST_NAMED else []
        # A name of code, module:function, is as it is typed.
        title, about = name if ":" in name else name.replace("_", " "), str(matrix.parameters.get("about", ""))
        found.append(Matrix(title, about, matrix.kind, image, low, high, names, len(matrix.tasks)))
    return found


def membership_of(evidence: Evidence) -> str | None:
    """Return the memberships as an image, a row for each group and a column for each task; None for one group."""
    if len(evidence.groups.groups) < 2:
        return None
    return membership_image(np.array(evidence.groups.membership), evidence.order)


def map_of(evidence: Evidence) -> Maps | None:
    """Return the data maps of the tasks; None where there is none."""
    if evidence.points is None or evidence.regions is None:
        return None
    shares = evidence.regions[list(REGIONS)].to_numpy()
    places = np.flatnonzero(np.isfinite(shares).all(axis=1)).tolist()
    names = evidence.summary.index.names
    tasks = [(t, names[t]) for t in places]
    return Maps(maps_image(evidence.points[places]), *tiles(len(places)), tasks, shares[places[0]].tolist())


def number_of_groups(evidence: Evidence) -> Markup | None:
    """Draw the criterion by number of groups; None where that number was given, not chosen."""
    choice = evidence.groups.number_choice
    if choice is None or not choice.curve:
        return None
    title = {"silhouette": "mean silhouette", "bic": "minus BIC"}.get(choice.criterion, choice.criterion)
    points = known_points([float(n) for n in choice.curve], list(choice.curve.values()))
    n = len(evidence.groups.groups)
    marked = next((point for point in points if point[0] == n), None)
    return line_chart(
        f"{title} by number of groups; {n} were chosen", [Line(points)], x_title="number of groups", y_title=title,
        marked=marked,
    )  # fmt: skip


def curves_of(evidence: Evidence) -> list[tuple[str, Markup]]:
    """Return charts of how the profiled network and those of the plans were trained, each with its explanation."""
    found = []
    table = evidence.epochs
    if table is not None:
        for column, text in (("confidence", "mean confidence in the true labels"), ("loss", "loss")):
            by_epoch = table.pivot(index="epoch", columns="task", values=column)
            values = by_epoch.to_numpy()
            if not np.isfinite(values).any():
                continue
            known = np.isfinite(values).any(axis=1)
            epochs = by_epoch.index.to_numpy(dtype=float)[known].tolist()
            lines = [
                Line(known_points(epochs, np.nanpercentile(values[known], share, axis=1).tolist()), style, name=name)
                for share, style, name in zip(
                    SHARES, ("line soft", "line", "line soft"), _percentile_names(), strict=True
                )
            ]
            chart = line_chart(f"{text} by epoch", lines, x_title="epoch", y_title=f"mean {column}")
            if chart is not None:
                found.append((f"The profile, one network of all tasks: {text}, of the median task and of those at the "
                              "10th and the 90th percentile.", chart))  # fmt: skip
    if (chart := _network_curves(evidence)) is not None:
        found.append(("The first network of each plan: its score on validation rows after each epoch.", chart))
    return found


def _percentile_names() -> list[str]:
    return ["median" if share == 50 else f"{share} % of tasks" for share in SHARES]


def _network_curves(evidence: Evidence) -> Markup | None:
    """The scores on validation rows of the plans' first networks; None where version 0.1 trained them."""
    lines = []
    for plan, group, network in evidence.networks:
        scores = network.get("course")
        if group == 0 and scores and plan.copies is None:
            points = known_points([float(e) for e in range(1, len(scores) + 1)], scores)
            lines.append(Line(points, color=COLORS[plan.base], name=plan.title()))
    return line_chart(
        "score on validation rows by epoch", lines[:MOST_LINES], x_title="epoch", y_title="validation score"
    )


def search_of(evidence: Evidence) -> Markup | None:
    """Draw the mean gain of each group that a search measured, by its size; None where there was no search."""
    search = evidence.summary.search
    if search is None:
        return None
    found = {tuple(sorted(members)) for members in search["groups"]}
    rows = [(row["tasks"], float(np.mean(list(row["gains"].values())))) for row in search["measured"] if row["gains"]]
    if not rows:
        return None
    sizes, gains = [float(len(tasks)) for tasks, _ in rows], [gain for _, gain in rows]
    frame = axes(
        (0.0, max(sizes) + 1),
        (min(0.0, *gains), max(0.0, *gains)),
        x_title="tasks of the group",
        y_title="mean gain",
        whole_to=max(sizes),
    )
    dots = [
        tag(
            "circle",
            class_="dot chosen" if tuple(sorted(tasks)) in found else "dot",
            cx=frame.x(float(len(tasks))),
            cy=frame.y(gain),
            r=6 if tuple(sorted(tasks)) in found else 4,
            data_tip=f"{gain:+.4f}: {', '.join(map(shown_name, tasks[:MAX_NAMED]))}",
        )
        for tasks, gain in rows
    ]
    zero = tag("line", class_="zero", x1=frame.x(0.0), x2=frame.x(max(sizes) + 1), y1=frame.y(0.0), y2=frame.y(0.0))
    return drawing(frame.width, frame.height, "gain of each measured group by its size", frame.drawn, zero, *dots)
