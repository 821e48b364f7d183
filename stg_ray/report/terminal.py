"""Summary of a run in the terminal: its groups, its plans, and whether grouping helped."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.outlook import outlook_sentence
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.report.summary import PlanRow, Summary, summarize
from stg_ray.report.tuning import Tuning
from stg_ray.report.words import search_sentence
from stg_ray.shown import shown, shown_name

SHOWN_TASKS = 12
SHOWN_FAILURES = 5


def print_stage(console: Console, run: RunDir, config: Config, stage: str) -> None:
    """Print the results of a stage: what tuning found, the groups, or the comparison of plans."""
    if stage == "tune" and (tuning := Tuning.of(run, config)) is not None:
        print_tuning(console, tuning)
    elif stage == "group":
        print_groups(console, Groups.from_dict(run.read_json("groups.json")))
    elif stage in ("retrain", "report"):
        print_summary(console, summarize(run, config))


def print_summary(console: Console, summary: Summary) -> None:
    """Print the tuning, the groups, the plans, the verdict, what limits it, and the networks that failed."""
    if summary.tuning is not None:
        print_tuning(console, summary.tuning)
    print_groups(console, summary.groups)
    if summary.plans:
        console.print(plans_table(summary.plans, summary.metric))
        console.print()
    console.print(Text(shown(summary.verdict)))
    if summary.forecast is not None:
        console.print(Text(f"Forecast: {outlook_sentence(summary.forecast)}."))
    if summary.search is not None:
        console.print(Text(shown(search_sentence(summary.search))))
    for limit in summary.limits:
        console.print(Text(shown(f"beware: {limit}")))
    if summary.looks > 1:
        console.print(Text(looks_text(summary)))
    for failure in summary.failures[:SHOWN_FAILURES]:
        console.print(Text(shown(f"failed, left out: {failure_text(failure)}")))


def looks_text(summary: Summary) -> str:
    """Say how often the test rows were looked at."""
    return (
        f"The test rows were looked at {summary.looks} times in this directory, with other groups or settings: the "
        "best of several looks owes something to luck."
    )


def failure_text(failure: dict[str, Any]) -> str:
    """Describe a network that could not be trained, and why."""
    return f"{failure['plan']} group {failure['group']} seed {failure['seed']}: {failure['reason']}"


def print_tuning(console: Console, tuning: Tuning) -> None:
    """Print the best trials of tuning, and what it found."""
    table = Table(box=None, pad_edge=False)
    for header in tuning.headers:
        table.add_column(header, justify="right")
    for row in tuning.rows:
        table.add_row(*row)
    console.print()
    console.print(table)
    console.print()
    console.print(Text(tuning.sentence))


def print_groups(console: Console, groups: Groups) -> None:
    """Print the groups, with their certainty where it is known."""
    table = Table(box=None, pad_edge=False)
    table.add_column("group", justify="right")
    table.add_column("tasks", overflow="fold")
    is_known = groups.certainty is not None
    if is_known:
        table.add_column("certainty", justify="right")
    for number, members in enumerate(groups.groups):
        more = f", and {len(members) - SHOWN_TASKS} more" if len(members) > SHOWN_TASKS else ""
        row: list[str | Text] = [str(number), Text(", ".join(map(shown_name, members[:SHOWN_TASKS])) + more)]
        table.add_row(*row, *([certainty_text(groups, number)] if is_known else []))
    console.print()
    console.print(table)
    console.print()


def certainty_text(groups: Groups, number: int) -> str:
    """Return how often the group's tasks stay in it under resampling, in percent; empty where that is not known."""
    share = groups.mean_certainty(number)
    return "" if share is None else f"{share:.0%}"


def plans_table(rows: Iterable[PlanRow], metric: str) -> Table:
    """Return the comparison of plans, which fits into 80 columns.

    Args:
        metric: name of the mean over tasks.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column("plan", no_wrap=True, overflow="fold")
    # Two lines of header keep the columns as narrow as their numbers, so that titles of plans have room.
    for header in ("nets", metric, "vs all\nin one", "95 %\ninterval", "tasks\n+/-", "cost"):
        table.add_column(header, justify="right")
    for row in rows:
        table.add_row(row.title, str(row.networks), f"{row.mean:.4f}", *difference_texts(row), cost_text(row))
    return table


def difference_texts(row: PlanRow) -> tuple[str, str, str]:
    """Return the difference to all-in-one, its interval, and the numbers of tasks helped and hurt; empty if unknown."""
    d = row.difference
    if d is None:
        return "", "", ""
    interval = f"{d.low:+.4f} {d.high:+.4f}" if d.is_known else ""
    return f"{d.mean:+.4f}", interval, f"{d.helped}/{d.hurt}"


def cost_text(row: PlanRow) -> str:
    """Return the cost of a plan in units of all-in-one, such as 3.4x; empty where it is unknown."""
    return "" if math.isnan(row.cost) else f"{row.cost:.1f}x"
