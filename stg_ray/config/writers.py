"""Which version of stg_ray wrote a configuration: a newer one may have keys that this one does not know."""

from __future__ import annotations

import re

MARK = "# Written by stg_ray "


def own_version() -> str:
    """Return the version of stg_ray."""
    from stg_ray import __version__

    return __version__


def marked(text: str) -> str:
    """Return the text of a configuration with a first line, a comment, that names this version."""
    return f"{MARK}{own_version()}\n{text}"


def newer_writer(text: str) -> str:
    """Say that a newer version wrote a configuration, where its first line says so; else return an empty text.

    Example:
        >>> newer_writer("# Written by stg_ray 99.1.0")
        '; stg_ray 99.1.0 wrote it, and this is ...: use that version, or remove what this one does not know'
        >>> newer_writer("# Written by stg_ray 0.0.1"), newer_writer("data: {preset: digits}")
        ('', '')
    """
    first = text.partition("\n")[0]
    version = first.removeprefix(MARK).strip() if first.startswith(MARK) else ""
    if not version or _numbers(version) <= _numbers(own_version()):
        return ""
    return (
        f"; stg_ray {version} wrote it, and this is {own_version()}: use that version, or remove what this one does "
        "not know"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
