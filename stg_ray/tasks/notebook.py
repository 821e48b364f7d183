"""Task sets as notebooks show them."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from stg_ray.tasks.labels import observed

if TYPE_CHECKING:
    from stg_ray.tasks.task_set import TaskSet

SHOWN_TASKS = 10
"""Tasks that are listed."""


def html_table(task_set: TaskSet) -> str:
    """Return a table: sizes, kinds, splits and the first tasks."""
    facts = {
        "samples": f"{len(task_set.inputs):,} of {task_set.inputs.shape[1:]} {task_set.inputs.dtype}",
        "rows": task_set.rows_text,
        "tasks": f"{len(task_set.tasks):,}: {task_set.kinds_text}",
    }
    rows = [f"<tr><th>{name}</th><td colspan='3'>{text}</td></tr>" for name, text in facts.items()]
    rows.append("<tr><th>task</th><th>kind</th><th>labels</th><th>known group</th></tr>")
    for t, task in enumerate(task_set.tasks[:SHOWN_TASKS]):
        n_labels = int(observed(task_set.labels[:, t]).sum())
        cells = (task.name, task.kind, f"{n_labels:,}", task.group or "")
        rows.append(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}</tr>")
    if len(task_set.tasks) > SHOWN_TASKS:
        rows.append(f"<tr><td colspan='4'>and {len(task_set.tasks) - SHOWN_TASKS:,} more</td></tr>")
    return f"<table>{''.join(rows)}</table>"
