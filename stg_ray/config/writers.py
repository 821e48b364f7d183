"""Which version of stg_ray wrote a configuration, and whether it is whole.

A newer version may have keys that this one does not know. A part of a file may be valid YAML, and mean something else.
"""

from __future__ import annotations

import re

MARK = "# Written by stg_ray "
END = "# end"
"""Last line of a configuration whose first line names it."""
ENDS = f"; the last line is {END!r}"


def own_version() -> str:
    """Return the version of stg_ray."""
    from stg_ray import __version__

    return __version__


def marked(text: str) -> str:
    """Return the text of a configuration with a first line that names this version, and a last one; both comments."""
    return f"{MARK}{own_version()}{ENDS}\n{text}{END}\n"


def is_cut_off(text: str) -> bool:
    """Whether a configuration lacks the last line that its first one names.

    Example:
        >>> text = marked("data: {preset: digits}\\n")
        >>> is_cut_off(text), is_cut_off(text[:-9])
        (False, True)
        >>> is_cut_off("# Written by stg_ray 0.1.0"), is_cut_off("data: {preset: digits}")
        (False, False)
    """
    return text.partition("\n")[0].endswith(ENDS) and text.rstrip().rpartition("\n")[2] != END


def newer_writer(text: str) -> str:
    """Say that a newer version wrote a configuration, where its first line says so; else return an empty text.

    Example:
        >>> newer_writer("# Written by stg_ray 99.1.0")
        '; stg_ray 99.1.0 wrote it, and this is ...: use that version, or remove what this one does not know'
        >>> newer_writer("# Written by stg_ray 0.0.1"), newer_writer("data: {preset: digits}")
        ('', '')
    """
    first = text.partition("\n")[0]
    version = first.removeprefix(MARK).removesuffix(ENDS).strip() if first.startswith(MARK) else ""
    if not version or _numbers(version) <= _numbers(own_version()):
        return ""
    return (
        f"; stg_ray {version} wrote it, and this is {own_version()}: use that version, or remove what this one does "
        "not know"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
