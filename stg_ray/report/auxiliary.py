"""What helps a main task, in words and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg_ray.report.terminal import SHOWN_FAILURES
from stg_ray.shown import shown, shown_name

TITLES = {
    "alone": "alone",
    "all": "with all tasks",
    "best_single": "with the best single one",
    "kept": "with those kept, equal weights",
    "adaptive": "with those kept, adaptive weights",
}
"""Ways to train a main task, as they are called in tables."""


def print_auxiliaries(console: Console, mains: Mapping[str, Any]) -> None:
    """Print, for every main task, what each tried task does for it, and what training with those that help brings."""
    for main, about in mains.items():
        console.print()
        console.print(_effects(main, about))
        console.print()
        console.print(_ways(about))
        console.print()
        console.print(Text(shown(sentence(main, about))))
        for tasks, reason in list(about["failed"].items())[:SHOWN_FAILURES]:
            console.print(Text(shown(f"failed, left out: {tasks}: {reason}")))


def sentence(main: str, about: Mapping[str, Any]) -> str:
    """Say what was found."""
    tried = sum("effect" in task for task in about["tasks"].values())
    if not about["kept"]:
        return f"None of {tried} tasks helps {main} by more than luck: train it alone, or with all if that is better."
    clear = about["ways"].get("adaptive", {}).get("gain")
    text = f"Of {tried} tasks {', '.join(about['kept'])} clearly help{'s' * (len(about['kept']) == 1)} {main}"
    if clear is None:
        return f"{text}."
    says = "above" if clear["low"] > 0 else "below" if clear["high"] < 0 else "not clearly apart from"
    return f"{text}; trained together, its test score is {says} that of {main} alone."


def _effects(main: str, about: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(Text(f"what helps {shown_name(main)}"), overflow="fold")
    for header in ("estimate", f"{about['metric']} (val)", "95 % interval", "kept"):
        table.add_column(header, justify="right")
    for name, task in tried_of(about):
        estimate = "" if task["estimate"] is None else f"{task['estimate']:+.2f}"
        table.add_row(Text(shown_name(name)), estimate, *difference_of(task["effect"]), "yes" if task["kept"] else "")
    return table


def _ways(about: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("trained")
    for header in ("tasks", "val", "test", "vs alone", "95 % interval"):
        table.add_column(header, justify="right")
    for way, row in about["ways"].items():
        gain = difference_of(row["gain"]) if "gain" in row else ("", "")
        table.add_row(TITLES[way], str(1 + len(row["tasks"])), f"{row['val']:.4f}", f"{row['test']:.4f}", *gain)
    return table


def tried_of(about: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tasks that were trained with a main task, by name, the most helpful first."""
    tried = [(name, task) for name, task in about["tasks"].items() if "effect" in task]
    return sorted(tried, key=lambda item: -item[1]["effect"]["mean"])


def difference_of(effect: Mapping[str, float]) -> tuple[str, str]:
    """Return the mean of an effect and its 95 % interval, in words."""
    return f"{effect['mean']:+.4f}", f"{effect['low']:+.4f} {effect['high']:+.4f}"
