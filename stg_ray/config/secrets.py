"""Secrets in a configuration: credentials in addresses are refused, values with secret names are hidden."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from stg_ray.errors import InputError

SECRET_NAME = re.compile(r"passw(or)?d|passwd|secret|token|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
"""Names of arguments whose values are not shown."""

IN_ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
IN_QUERY = re.compile(
    r"://\S*[?&](access_key|secret_key|session_token|token|sig|signature|x-amz-\w+|x-goog-\w+|password)=[^&\s]",
    re.IGNORECASE,
)
HIDDEN = "(hidden)"
REFUSED = (
    "holds credentials in its address, which would stand in files and logs: give them by the environment, such as "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)


def check_no_credentials(values: Mapping[str, Any]) -> None:
    """Refuse addresses (`s3://KEY:SECRET@...`, or with a key in the query) that would stand in files and logs.

    Args:
        values: sections of a configuration, as they were given.

    Raises:
        ValueError: an address holds credentials; the message names its key and not the address.

    Example:
        >>> check_no_credentials({"data": {"npz": "s3://me:secret@bucket/mine.npz"}})
        Traceback (most recent call last):
        ValueError: data.npz holds credentials in its address, which would stand in files and logs: give them by the \
environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    """
    for key, text in _texts(values, ()):
        if _has_credentials(text):
            raise ValueError(f"{'.'.join(key)} {REFUSED}")


def no_credentials(address: str | None) -> str | None:
    """Return an address of a run as it is, unless it holds credentials.

    Raises:
        InputError: it does; the message does not show it.
    """
    if address is not None and _has_credentials(address):
        raise InputError(f"the place of the run {REFUSED}")
    return address


def _has_credentials(text: str) -> bool:
    return bool(IN_ADDRESS.search(text) or IN_QUERY.search(text))


def without_secrets(values: Any) -> Any:
    """Return values with those hidden whose names say that they are secret, such as a `token` of `data.arguments`.

    Example:
        >>> without_secrets({"arguments": {"token": "abc", "rows": 3}})
        {'arguments': {'token': '(hidden)', 'rows': 3}}
    """
    if isinstance(values, Mapping):
        return {
            key: HIDDEN if SECRET_NAME.search(str(key)) and value is not None else without_secrets(value)
            for key, value in values.items()
        }
    return [without_secrets(value) for value in values] if isinstance(values, list) else values


def _texts(values: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every text in nested values, with the keys that lead to it."""
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _texts(value, (*key, str(name)))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value, key)
