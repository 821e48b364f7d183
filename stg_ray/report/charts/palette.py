"""Colours of the groups, the same in every chart, and of the plans."""

from __future__ import annotations

import colorsys

from stg_ray.config import PlanName

HUES = (162, 214, 28, 282, 342, 48, 190, 96, 250, 6, 310, 74)
"""Hues of the first groups in degrees: neighbours in this order are far apart."""
GOLDEN_ANGLE = 137.508
LIGHT = {"lightness": 0.40, "saturation": 0.55}
DARK = {"lightness": 0.66, "saturation": 0.50}
"""On a light and on a dark page: each has a contrast of 3 and more to its background (WCAG 2.2, 1.4.11)."""

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
"""Plans in figures where each has a colour."""


def group_colors(n: int, *, dark: bool = False) -> list[str]:
    """Return a colour for each of n groups; the first ones do not depend on n."""
    tone = DARK if dark else LIGHT
    return [_hex(_hue(g), **tone) for g in range(n)]


def css_variables(n: int, *, dark: bool = False) -> str:
    """Return the declarations of the variables --g0, --g1, ... by which charts name the groups' colours."""
    return "".join(f"--g{g}:{color};" for g, color in enumerate(group_colors(n, dark=dark)))


def rgb(color: str) -> tuple[int, int, int]:
    """Return the bytes of a colour such as #0b6e4f."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _hue(g: int) -> float:
    return HUES[g] if g < len(HUES) else (HUES[-1] + (g - len(HUES) + 1) * GOLDEN_ANGLE) % 360


def _hex(hue: float, lightness: float, saturation: float) -> str:
    return "#" + "".join(f"{round(255 * v):02x}" for v in colorsys.hls_to_rgb(hue / 360, lightness, saturation))
