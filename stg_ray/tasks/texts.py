"""Texts that are labels: which are in doubt, which of two is label 0, and what looks like lists of labels."""

from __future__ import annotations

from collections.abc import Sequence

UNCLEAR = ("na", "n/a", "#n/a", "null", "none", "?", "-", "--", "unknown", "missing")
"""Texts that may mark what is missing, and may be classes."""
SEPARATORS = "|;,"
"""Characters that often stand between the labels that a text lists."""
OPPOSITES = (
    ("-", "+"),
    ("no", "yes"),
    ("n", "y"),
    ("inactive", "active"),
    ("absent", "present"),
    ("negative", "positive"),
)
"""Pairs of texts of which the first is label 0, in whatever case; other texts are in the order of the alphabet."""


def unclear(texts: Sequence[str]) -> list[str]:
    """Return the texts that may mark what is missing."""
    return [] if _pair(texts) else [text for text in texts if text.lower() in UNCLEAR]


def in_order(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return distinct texts in the order of their labels."""
    pair = _pair(texts)
    return tuple(sorted(texts, key=lambda text: pair.index(text.lower()))) if pair else texts


def alike(texts: Sequence[str]) -> list[str]:
    """Return two texts that differ in upper and lower case only, if there are any."""
    seen: dict[str, str] = {}
    for text in texts:
        if (other := seen.setdefault(text.lower(), text)) != text:
            return [other, text]
    return []


def separator(texts: Sequence[str]) -> str | None:
    """Return the character between labels, if texts look like lists of fewer labels than there are texts."""
    for character in SEPARATORS:
        lists = [[label.strip() for label in text.split(character)] for text in texts]
        if max(map(len, lists)) > 1 and len({label for labels in lists for label in labels}) < len(texts):
            return character
    return None


def _pair(texts: Sequence[str]) -> tuple[str, str] | None:
    lower = {text.lower() for text in texts}
    return next((pair for pair in OPPOSITES if len(texts) == 2 and lower == set(pair)), None)
