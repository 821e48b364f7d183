"""Tables that notebooks show of artifacts. Whatever is shown is escaped: a task may be named `<script>`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

SHOWN_TASKS = 12
"""Tasks that are listed by name; of more, only the number."""


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table of texts; a row shorter than the header spans the remaining columns with its last text."""
    lines = [f"<table><caption>{html.escape(caption)}</caption>", _row("th", header, len(header))]
    lines += [_row("td", row, len(header)) for row in rows]
    return "\n".join([*lines, "</table>"])


def listed(tasks: Sequence[str]) -> str:
    """Return the first `SHOWN_TASKS` names, and how many more there are."""
    more = len(tasks) - SHOWN_TASKS
    return ", ".join(tasks[:SHOWN_TASKS]) + (f", ... and {more} more" if more > 0 else "")


def _row(tag: str, texts: Sequence[str], width: int) -> str:
    cells = [f"<{tag}>{html.escape(text)}</{tag}>" for text in texts]
    if 0 < len(texts) < width:
        span = width - len(texts) + 1
        cells[-1] = f'<{tag} colspan="{span}">{html.escape(texts[-1])}</{tag}>'
    return f"<tr>{''.join(cells)}</tr>"
