"""Elements of vector graphics as text, with everything that users named escaped, and what axes need."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from stg_ray.shown import shown_name

SHOWN_CHARACTERS = 26
"""Characters of a task's name in a chart; the rest is where the pointer is on it, and in the table."""

NAME_WIDTH, NAME_HEIGHT = 10.0, 18.0
"""Room for a character of a name in a chart, on a narrow screen too, where letters are larger."""


def tag(name: str, *children: str | Markup, **attributes: object) -> Markup:
    """Return an element. Attributes are named as in Python: class_ is class, and text_anchor text-anchor."""
    pairs = Markup("").join(
        Markup('{}="{}" ').format(key.rstrip("_").replace("_", "-"), _text(value))
        for key, value in attributes.items()
        if value is not None
    )
    opening = Markup(f"<{name} ") + pairs if attributes else Markup(f"<{name}")
    return opening + Markup(">") + Markup("").join(map(escape, children)) + Markup(f"</{name}>")


def drawing(width: float, height: float, title: str, *children: Markup, class_: str = "chart") -> Markup:
    """Return a drawing that scales to the page's width, with a title for those who do not see it."""
    return tag(
        "svg",
        *children,
        class_=class_,
        viewBox=f"0 0 {width:g} {height:g}",
        width=f"{width:g}",
        role="img",
        aria_label=title,
    )


def short(name: str, n: int = SHOWN_CHARACTERS) -> str:
    """Return a name for a chart: visible, and cut where it is long."""
    text = shown_name(name)
    return text if len(text) <= n else f"{text[: n - 1]}…"


def free_place(wanted: float, taken: Sequence[float], low: float, high: float) -> float:
    """Return the place from `low` to `high` that is nearest to the wanted one and leaves room for names beside it."""
    steps = [sign * 3.0 * n for n in range(int((high - low) / 3) + 1) for sign in (1, -1)]
    places = [wanted + step for step in steps if low <= wanted + step <= high]
    return next((y for y in places if all(abs(y - other) >= NAME_HEIGHT for other in taken)), wanted)


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Return places for names below each other, in the order of the wanted ones, from the top, and near them.

    Example:
        >>> spread([20, 24, 90, 95], low=0, high=100)
        [20, 38.0, 82.0, 100]
    """
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + NAME_HEIGHT if places else low))
    for i in reversed(range(len(places))):
        places[i] = min(places[i], places[i + 1] - NAME_HEIGHT if i + 1 < len(places) else high)
    return places


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Return about n round numbers from low to high."""
    if not high > low:
        return [low]
    step = 10.0 ** math.floor(math.log10((high - low) / n))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= n)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 12) for i in range(math.floor(high / step + 1e-9) - first + 1)]


def number(value: float) -> str:
    """Return a tick's number as it is written on an axis."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def _text(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
