"""Elements of vector graphics as text, with everything that users named escaped, and what axes need."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

from stg_ray.shown import shown_name

SHOWN_CHARACTERS = 26
"""Characters of a task's name in a chart; the rest is where the pointer is on it, and in the table."""


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
