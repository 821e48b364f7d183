"""Text as it is shown: numbers of things, times, and names, which come from data and may hold characters that control a
terminal."""

from __future__ import annotations

import unicodedata

CONTROLS = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
"""Categories of characters that move the cursor, turn the direction of writing, or show nothing."""
JOINERS = "\u200c\u200d"
"""Of these, the two that words of some scripts, and many emojis, are written with."""


def counted(number: int, noun: str) -> str:
    """Return a number of things in words.

    Example:
        >>> counted(1, "task"), counted(1257, "sample")
        ('1 task', '1,257 samples')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def plain(value: object) -> str:
    """Return a value as it is written in Python and YAML; a number of NumPy's is written like any other.

    Example:
        >>> import numpy as np
        >>> plain(np.float64(1.5)), plain(1.5), plain("1.5")
        ('1.5', '1.5', "'1.5'")
    """
    return repr(value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value)


def ranged(low: int, high: int, noun: str = "") -> str:
    """Return numbers from one to another in words, and one number where both are the same.

    Example:
        >>> ranged(20, 43, "epoch"), ranged(43, 43, "epoch"), ranged(1, 1, "epoch"), ranged(2, 5)
        ('20 to 43 epochs', '43 epochs', '1 epoch', '2 to 5')
    """
    numbers = str(low) if low == high else f"{low} to {high}"
    return f"{numbers} {noun}{'s' * (high != 1)}" if noun else numbers


def rough_time(seconds: float, word: str = "about") -> str:
    """Return a time that is not known well in words.

    Example:
        >>> rough_time(0.2), rough_time(42.4), rough_time(600), rough_time(9000, "roughly")
        ('under 1 s', 'about 42 s', 'about 10 min', 'roughly 2.5 h')
    """
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{word} {seconds:.0f} s"
    return f"{word} {seconds / 60:.0f} min" if seconds < 5400 else f"{word} {seconds / 3600:.1f} h"


def sentence(text: str) -> str:
    """Return a text that begins with a capital letter, unless it begins with a setting or a command: these are typed.

    Example:
        >>> sentence("raise profile.epochs"), sentence("data.min_positives=10 leaves them out")
        ('Raise profile.epochs', 'data.min_positives=10 leaves them out')
    """
    first, _, _ = text.partition(" ")
    return text[:1].upper() + text[1:] if first.rstrip(",:;").isalnum() else text


def shown(text: str) -> str:
    r"""Return a text with control and direction characters as escapes; line breaks stay.

    Example:
        >>> shown("cat\x1b[2J\u202edog")
        'cat\\x1b[2J\\u202edog'
    """
    if text.isprintable():
        return text
    return "".join(character if character == "\n" else _visible(character) for character in text)


def shown_name(name: str) -> str:
    r"""Return a name in one line: as `shown`, and line breaks are escapes, too.

    Example:
        >>> shown_name("two\nlines\u202e")
        'two\\nlines\\u202e'
    """
    return "\\n".join(map(shown, name.split("\n")))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in CONTROLS or character in JOINERS:
        return character
    return character.encode("unicode_escape").decode()
