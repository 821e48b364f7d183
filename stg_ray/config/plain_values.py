"""Values that a file can hold: a configuration is written to the run directory, hashed, and read again."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from stg_ray.config.plain_yaml import MAX_DEPTH

PLAIN = (str, int, float, bytes, datetime.date, type(None))
"""Types of single values; a bool is an int, a datetime a date."""


def check_texts(values: Any, key: tuple[str, ...] = ()) -> None:
    """Refuse texts that no file and no path can hold.

    Args:
        values: sections of a configuration, as they were given.
        key: the keys that lead to them.

    Raises:
        ValueError: a text has a null character, or half of a surrogate pair, or a key a line break; the message names
            the key.

    Example:
        >>> check_texts({"data": {"npz": "a\\0b"}})
        Traceback (most recent call last):
        ValueError: data.npz holds null characters or lone surrogates: expected text that a file can hold
    """
    if len(key) > MAX_DEPTH:
        raise ValueError(f"{'.'.join(key[:2])} is nested more than {MAX_DEPTH} deep")
    if isinstance(values, str):
        if "\0" in values or any("\ud800" <= character <= "\udfff" for character in values):
            where = ".".join(key) or "a key"
            raise ValueError(f"{where} holds null characters or lone surrogates: expected text that a file can hold")
    elif isinstance(values, Mapping):
        for name, value in values.items():
            check_texts(name)
            if isinstance(name, str) and len(name.splitlines()) > 1:
                raise ValueError(f"the key {name[:60]!r} holds a line break")
            check_texts(value, (*key, str(name)))
    elif isinstance(values, list | tuple):
        for number, value in enumerate(values):
            check_texts(value, (*key, str(number)))


def check_plain(value: Any) -> None:
    """Refuse a value that a YAML file cannot hold, or whose hash would depend on chance.

    Raises:
        ValueError: it has another type, or a mapping of it mixes keys of texts and of numbers.

    Example:
        >>> check_plain({"rows": [1, 2], "name": None})
        >>> check_plain({"rows": {1, 2}})
        Traceback (most recent call last):
        ValueError: it holds a set: expected mappings, lists, texts, numbers, dates or nothing
    """
    if isinstance(value, Mapping):
        if not (all(isinstance(key, str) for key in value) or all(isinstance(key, int | float) for key in value)):
            raise ValueError("the keys of a mapping must be all texts or all numbers")
        for inner in value.values():
            check_plain(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner)
    elif not isinstance(value, PLAIN):
        kind = type(value).__name__
        raise ValueError(f"it holds a {kind}: expected mappings, lists, texts, numbers, dates or nothing")
