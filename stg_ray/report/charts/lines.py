"""Charts with axes: curves by epoch or by number of groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from stg_ray.report.charts.svg import NAME_WIDTH, drawing, number, spread, tag, ticks

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 12, 42
PLOT = WIDTH - LEFT - RIGHT


@dataclass(frozen=True)
class Axes:
    """The frame of a chart.

    Attributes:
        x_range, y_range: of the values.
        width, height: of the drawing.
        drawn: grid, numbers and titles.
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    width: int
    height: int
    drawn: Markup

    def x(self, value: float) -> float:
        """Return the place of a value from the left."""
        return LEFT + _share(value, self.x_range) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the place of a value from the top."""
        return self.height - BOTTOM - _share(value, self.y_range) * (self.height - TOP - BOTTOM)


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        points: (x, y), without those that are not known.
        class_: of its style; `color`, if given, is stronger.
        name: beside its last point, if any.
    """

    points: Sequence[tuple[float, float]]
    class_: str = "line"
    color: str | None = None
    name: str = ""


def axes(
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    x_title: str,
    y_title: str,
    height: int = HEIGHT,
    whole_to: float | None = None,
) -> Axes:
    """Return a frame for values in these ranges, a little wider than they are.

    Args:
        whole_to: the values along are whole numbers, and this is the largest; behind it is room, and no number.
    """
    low, high = y_range
    margin = 0.06 * (high - low) or 0.05 * (abs(high) or 1.0)
    frame = Axes(x_range, (low - margin, high + margin), WIDTH, height, Markup(""))
    bottom = height - BOTTOM
    parts = []
    for value in ticks(*frame.y_range, 5):
        y = frame.y(value)
        parts += [
            tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y),
            tag("text", number(value), class_="tick", x=LEFT - 8, y=y + 4, text_anchor="end"),
        ]
    for value in ticks(*x_range, 8):
        if whole_to is None or (value <= whole_to and value == int(value)):
            parts.append(
                tag("text", number(value), class_="tick", x=frame.x(value), y=bottom + 17, text_anchor="middle")
            )
    parts += [
        tag("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom),
        tag("text", x_title, class_="tick", x=(LEFT + WIDTH - RIGHT) / 2, y=height - 6, text_anchor="middle"),
        tag("text", y_title, class_="tick", transform=f"translate(12 {bottom / 2 + TOP / 2:g}) rotate(-90)",
            text_anchor="middle"),
    ]  # fmt: skip
    return Axes(x_range, frame.y_range, WIDTH, height, Markup("").join(parts))


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_title: str,
    y_title: str,
    marked: tuple[float, float] | None = None,
) -> Markup | None:
    """Draw curves over whole numbers, such as epochs; None where no point is known.

    Args:
        marked: a point that is drawn in full, such as what was chosen.
    """
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    longest = max(len(line.name) for line in lines)
    room = (8 + NAME_WIDTH * longest) / PLOT if longest else 0.0
    last = max(xs) + room / (1 - room) * (max(xs) - min(xs) or 1)
    frame = axes(
        (min(xs), last if last > min(xs) else min(xs) + 1),
        (min(ys), max(ys)),
        x_title=x_title,
        y_title=y_title,
        whole_to=max(xs),
    )
    parts = _names(frame, lines)
    for line in lines:
        path = "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in line.points)
        style = None if line.color is None else f"stroke:{line.color}"
        parts.append(tag("path", class_=line.class_, d=path, style=style))
        if len(line.points) == 1:
            (x, y), fill = line.points[0], None if line.color is None else f"fill:{line.color}"
            parts.append(tag("circle", class_="dot", cx=frame.x(x), cy=frame.y(y), r=3, style=fill))
    if marked is not None:
        parts.append(tag("circle", class_="dot chosen", cx=frame.x(marked[0]), cy=frame.y(marked[1]), r=6))
    return drawing(frame.width, frame.height, title, frame.drawn, *parts)


def _names(frame: Axes, lines: Sequence[Line]) -> list[Markup]:
    """The names of curves beside their last points, below each other where curves end together."""
    parts = []
    for end in dict.fromkeys(line.points[-1][0] for line in lines):
        named = [line for line in lines if line.name and line.points[-1][0] == end]
        named.sort(key=lambda line: -line.points[-1][1])
        places = spread([frame.y(line.points[-1][1]) + 4 for line in named], TOP + 4, frame.height - BOTTOM - 4)
        parts += [
            tag("text", line.name, class_="name", x=frame.x(end) + 8, y=y)
            for line, y in zip(named, places, strict=True)
        ]
    return parts


def known_points(xs: Sequence[float], ys: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return the points whose value is a number."""
    return [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None and math.isfinite(y)]


def _share(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return (value - low) / (high - low) if high > low else 0.5
