"""Text as it is shown in a terminal: names come from data, and may hold characters that control it."""

from __future__ import annotations

import unicodedata

CONTROLS = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
"""Categories of characters that move the cursor, turn the direction of writing, or show nothing."""


def shown(text: str) -> str:
    r"""Return a text with control and direction characters as escapes; line breaks stay.

    Example:
        >>> shown("cat\x1b[2J\u202edog")
        'cat\\x1b[2J\\u202edog'
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if character != "\n" and unicodedata.category(character) in CONTROLS
        else character
        for character in text
    )
