"""The guides in the terminal: the Markdown pages that the package ships, by topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from stg_ray.errors import InputError, unknown


def topics() -> dict[str, str]:
    """Return the title of every guide, by its topic: the name of its file with hyphens."""
    folder = resources.files("stg_ray") / "guides"
    return {
        page.name.removesuffix(".md").replace("_", "-"): page.read_text(encoding="utf-8")
        .partition("\n")[0]
        .lstrip("# ")
        for page in sorted(folder.iterdir(), key=lambda page: page.name)
        if page.name.endswith(".md")
    }


def read(topic: str) -> str:
    """Return the Markdown of a guide.

    Raises:
        InputError: there is no such topic; the message names the nearest one.

    Example:
        >>> read("quickstart").splitlines()[0]
        '# Quickstart'
    """
    name = topic.lower().replace("_", "-").removesuffix(".md")
    if name not in topics():
        raise InputError(f"{unknown(topic, topics(), 'topic')} (stg-ray guide lists them)")
    return (resources.files("stg_ray") / "guides" / f"{name.replace('-', '_')}.md").read_text(encoding="utf-8")


def print_guide(console: Console, topic: str) -> None:
    """Print a guide: rendered in a terminal, as it is elsewhere (files, pipes)."""
    text = read(topic)
    if console.is_terminal:
        console.print(Markdown(_for_a_terminal(text), hyperlinks=False))
    else:
        console.print(text, markup=False, soft_wrap=True)


def print_topics(console: Console, titles: Mapping[str, str]) -> None:
    """Print the topics with their titles."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for topic, title in titles.items():
        table.add_row(topic, title)
    console.print(table)
    console.print("\nstg-ray guide TOPIC shows one.", markup=False)


def _for_a_terminal(text: str) -> str:
    """Replace links to other guides by the command that shows them, and the language of blocks that is none."""
    linked = re.sub(r"\[([^\]]+)\]\((\w+)\.md\)", lambda found: _pointer(found[1], found[2].replace("_", "-")), text)
    return re.sub(r"\[([^\]]+)\]\((\.\./[^)]+)\)", r"\1", linked)


def _pointer(words: str, topic: str) -> str:
    return f"`guide {topic}`" if words.lower() == topic else f"{words} (`guide {topic}`)"
