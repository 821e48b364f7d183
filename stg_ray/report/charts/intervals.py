"""Differences as bars across zero, and plans by what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from markupsafe import Markup

from stg_ray.report.charts.lines import BOTTOM, PLOT, TOP, axes
from stg_ray.report.charts.svg import NAME_WIDTH, drawing, free_place, short, tag
from stg_ray.report.summary import PlanRow

WIDTH, HEIGHT = 240, 26


class Interval(Protocol):
    """A difference with its 95 % interval, where that is known."""

    @property
    def mean(self) -> float:
        """The difference."""
        ...

    @property
    def low(self) -> float:
        """The lower end of its interval."""
        ...

    @property
    def high(self) -> float:
        """The upper end of its interval."""
        ...

    @property
    def is_known(self) -> bool:
        """Whether there is an interval."""
        ...


def reach(differences: Sequence[Interval]) -> float:
    """Return the largest distance from zero of what bars of one scale have to show."""
    ends = [abs(v) for d in differences for v in (d.mean, d.low, d.high) if math.isfinite(v)]
    return max(ends, default=0.0) or 1.0


def interval_bar(difference: Interval, largest: float, outcome: str, title: str) -> Markup:
    """Draw a difference and its 95 % interval on a scale from -largest to largest.

    Args:
        outcome: better, worse or open, which colours it.
        title: in words.
    """

    def x(value: float) -> float:
        return WIDTH / 2 + max(-1.0, min(1.0, value / largest)) * (WIDTH / 2 - 8)

    middle = HEIGHT / 2
    parts = [tag("line", class_="zero", x1=WIDTH / 2, x2=WIDTH / 2, y1=2, y2=HEIGHT - 2)]
    if difference.is_known:
        low, high = x(difference.low), x(difference.high)
        parts.append(
            tag("rect", class_=f"range {outcome}", x=low, y=middle - 5, width=max(2.0, high - low), height=10, rx=5)
        )
    if math.isfinite(difference.mean):
        parts.append(tag("circle", class_=f"mean {outcome}", cx=x(difference.mean), cy=middle, r=5.5))
    return drawing(WIDTH, HEIGHT, title, *parts, class_="bar")


def plans_at_cost(rows: Sequence[PlanRow], metric: str, chosen: str) -> Markup | None:
    """Draw each plan's score by the cost of its training; None where costs are unknown.

    Args:
        chosen: name of the plan to deploy, which is drawn in full.
    """
    known = [row for row in rows if math.isfinite(row.cost) and math.isfinite(row.mean)]
    if len(known) < 2:
        return None
    costs, scores = [row.cost for row in known], [row.mean for row in known]
    rooms = [(11 + NAME_WIDTH * len(short(row.title))) / PLOT for row in known]
    frame = axes(
        (0.0, max(1.1 * cost / (1 - room) for cost, room in zip(costs, rooms, strict=True))),
        (min(scores), max(scores)),
        x_title="cost of training, in units of one network",
        y_title=metric,
        height=260,
    )
    parts: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for row in sorted(known, key=lambda row: -row.mean):
        x, y = frame.x(row.cost), frame.y(row.mean)
        beside = [other for at, other in taken if abs(x - at) < 150]
        label = free_place(y + 4, beside, TOP + 4, frame.height - BOTTOM - 4)
        taken.append((x, label))
        is_chosen = row.plan.of_all_draws.name == chosen
        tip = f"{row.title}: {row.mean:.4f}, {row.cost:.1f} times the cost of one network"
        parts += [
            tag("circle", class_="dot chosen" if is_chosen else "dot", cx=x, cy=y, r=6, data_tip=tip),
            tag("text", short(row.title), class_="name chosen" if is_chosen else "name", x=x + 11, y=label),
        ]
    return drawing(frame.width, frame.height, f"{metric} of each plan by its cost", frame.drawn, *parts)
