"""Tables and lists that commands print: presets, the plan of a run, findings of doctor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg_ray.config.presets import PRESETS
from stg_ray.shown import shown

if TYPE_CHECKING:
    from stg_ray.findings import Finding

STYLE_OF_STATE = {"ok": "", "warning": "yellow", "problem": "bold red"}


def print_presets(console: Console) -> None:
    """Print the named task sets."""
    table = Table(box=None, pad_edge=False)
    table.add_column("preset", no_wrap=True)
    table.add_column("tasks K", justify="right", no_wrap=True)
    table.add_column("samples N", justify="right", no_wrap=True)
    table.add_column("data")
    for name, preset in PRESETS.items():
        table.add_row(name, str(preset.tasks), f"{preset.samples:,}", preset.origin)
    console.print(table)


def print_plan(console: Console, rows: Sequence[tuple[str, str]], title: str) -> None:
    """Print the stages of a plan, a line each."""
    table: Any = Table(box=None, pad_edge=False, show_header=False, title=Text(title), title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(shown(text)))
    console.print(table)


def print_findings(console: Console, findings: Iterable[Finding]) -> bool:
    """Print findings of doctor as they come in, and return whether none of them is a problem."""
    n_problems = 0
    for finding in findings:
        console.print(Text(shown(f"{finding.state:<8} {finding.text}"), style=STYLE_OF_STATE[finding.state]))
        if finding.advice:
            console.print(Text(shown(f"{'':<8} {finding.advice}")))
        n_problems += finding.state == "problem"
    return n_problems == 0
