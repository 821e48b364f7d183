"""The guide of settings, from the configuration: every key with its default and its docstring.

`python -m stg_ray.config.reference` writes guides/settings.md; a test compares the two.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from stg_ray.config import Config
from stg_ray.config.section import Section

GUIDE = Path(__file__).parents[1] / "guides" / "settings.md"
WIDTH = 120

HEAD = """\
# Settings

Every key has a default but the source of the data. A preset's defaults come first; a file's keys override them, and
`--set section.key=value` overrides both. In Python the same keys are `settings={"section": {"key": value}}`.

This page is made from the docstrings of `stg_ray/config` by `python -m stg_ray.config.reference`.
"""


def page() -> str:
    """Return the guide in Markdown: a section for each of the configuration's, and a line for each key."""
    lines = [HEAD]
    texts = dict(_docstrings(Config))
    seen: dict[str, str] = {}
    for name, field in Config.model_fields.items():
        lines.append(f"## {name}\n")
        section = _section_of(field.annotation)
        if section is not None:
            lines += [_wrapped(inspect.cleandoc(section.__doc__ or ""), ""), ""]
        lines += [*(_keys(section, name, seen) if section else [_line(name, field, texts[name])]), ""]
    return "\n".join(lines).rstrip() + "\n"


def _keys(section: type[Section], prefix: str, seen: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a section's keys; those that sections have in common stand in the first one of them."""
    texts = dict(_docstrings(section))
    elsewhere: dict[str, list[str]] = {}
    for name, field in section.model_fields.items():
        key = f"{prefix}.{name}"
        line = _line(name, field, texts[name])
        first = seen.setdefault(line, key)
        if first != key:
            elsewhere.setdefault(first.rpartition(".")[0], []).append(f"`{key}`")
            continue
        yield _line(key, field, texts[name])
        inner = _section_of(field.annotation)
        if inner is not None and inner is not section:
            yield from _keys(inner, key, seen)
    for place, keys in elsewhere.items():
        yield _wrapped(f"- {', '.join(keys)}: as those of `{place}`.", "  ")


def _line(key: str, field: Any, text: str) -> str:
    default = "" if field.is_required() else f" (default: {_shown(field.get_default(call_default_factory=True))})"
    return _wrapped(f"- `{key}`{default}: {text}", "  ")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list) and value:
        return ", ".join(map(str, value))
    return str(value)


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        " ".join(text.split()), WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a type is, or is an optional one, or a list or dictionary of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _section_of(inner))), None)


def _docstrings(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a section, those of its bases first, with the string that stands below each."""
    for cls in reversed(section.__mro__):
        if not issubclass(cls, Section):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for node, below in zip(tree.body, tree.body[1:], strict=False):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and is_text:
                yield node.target.id, inspect.cleandoc(str(below.value.value))  # type: ignore[attr-defined]


if __name__ == "__main__":
    GUIDE.write_text(page(), encoding="utf-8")
