"""Settings of two configurations that differ, told key by key: of nested ones, only those within that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stg_ray.config.given import PREFIX
from stg_ray.config.secrets import SECRET_NAME, without_secrets

ABSENT = object()
"""Stands for a key or an entry that only one of two values has."""
MANY = 8
"""Entries of a list up to which it is shown whole."""


def differences_of(key: str, before: Any, now: Any) -> Iterator[str]:
    """Say which settings under a key were others, each as `KEY is OLD, now NEW`.

    Example:
        >>> list(differences_of("data", {"limit": 5, "join": [{"npz": "a"}]}, {"limit": 5, "join": [{"npz": "b"}]}))
        ["data.join.0.npz is 'a', now 'b'"]
        >>> list(differences_of("seed", 0, 0))
        []
    """
    if before == now:
        return
    parts = None if SECRET_NAME.search(key.rpartition(".")[2]) else _parts(before, now)
    if parts is not None:
        for name, (old, new) in parts.items():
            yield from differences_of(f"{key}.{name}", old, new)
    elif all(isinstance(value, str) and value.startswith(PREFIX) for value in (before, now)):
        yield f"{key} is given in Python, now another or with other code or weights"
    else:
        old, new = (_shown(key, *each) for each in ((before, now), (now, before)))
        yield f"{key} is {old}, now {new}"


def _parts(before: Any, now: Any) -> dict[Any, tuple[Any, Any]] | None:
    """Return the pairs of values by their keys, or by their places in lists of sections; None of plain values."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return {name: (before.get(name, ABSENT), now.get(name, ABSENT)) for name in {**before, **now}}
    lists = isinstance(before, list | tuple) and isinstance(now, list | tuple)
    if not lists or not any(isinstance(value, Mapping) for value in (*before, *now)):
        return None
    padded = [(*values, *[ABSENT] * (max(len(before), len(now)) - len(values))) for values in (before, now)]
    return dict(enumerate(zip(*padded, strict=True)))


def _shown(key: str, value: Any, other: Any) -> str:
    """Return a value as text: without secrets and settings that are not made, of a long list what differs."""
    if value is ABSENT:
        return "not there"
    name = key.rpartition(".")[2]
    value = _made(without_secrets({name: value})[name])
    if not isinstance(value, list) or not isinstance(other, list | tuple) or max(len(value), len(other)) <= MANY:
        return repr(value)
    entries = [entry for entry in value if entry not in other]
    if not entries and len(value) == len(other):  # the same in another order
        entries = [entry for entry, at_its_place in zip(value, other, strict=True) if entry != at_its_place]
    return f"[{', '.join(['...', *map(repr, entries[:MANY]), '...'])}] of {len(value)}"


def _made(value: Any) -> Any:
    """Return nested settings without those that are none or empty."""
    if not isinstance(value, Mapping):
        return value
    return {name: _made(each) for name, each in value.items() if each is not None and each not in ({}, [])}
