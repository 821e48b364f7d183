"""What a run expected of grouping before it trained all plans (forecast.json), in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stg_ray.shown import counted

FORECAST = "forecast.json"

ONE, ENSEMBLE, RANDOM = "all_in_one", "all_in_one_ensemble", "random_0"
"""Plans that ours are compared with."""

OUTLOOKS = {
    "gain": "grouping is expected to help",
    "none": "grouping is not expected to help",
    "open": "whether grouping will help is open",
}


def outlook_sentence(told: Mapping[str, Any]) -> str:
    """Say what grouping was expected to bring, and from what.

    Args:
        told: the content of forecast.json.
    """
    over = {
        ONE: "one network of all tasks",
        ENSEMBLE: f"{told['networks']} of them averaged",
        RANDOM: "random groups",
    }
    gains = [
        f"{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f}) over {over[plan]}"
        for plan, gain in told["expected"].items()
    ]
    length = "" if told["epochs"] is None else f"{counted(told['epochs'], 'epoch')} of "
    return f"after {length}the first training, {OUTLOOKS[told['outlook']]}: {', '.join(gains)}"
