"""The values of a configuration that its fingerprints cover, and keys that came after version 0.1."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, Field

DEFAULT = object()
"""Stands for the default of a key."""


def since(version: str, *, as_before: Any = DEFAULT) -> Any:
    """Mark a key that came after version 0.1: `key: Annotated[T, since("0.2")] = default`.

    Fingerprints leave it out while its value means what earlier versions did, so that their run directories, trained
    networks and laid out parts stay valid. That value must never change.

    Args:
        version: the first that has the key.
        as_before: the value that means what earlier versions did; the key's default if not given.
    """
    return Field(json_schema_extra={"since": version} | ({} if as_before is DEFAULT else {"as_before": as_before}))


def fingerprint_values(section: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return the values of a section that a fingerprint covers, as `model_dump` writes them.

    Left out are the keys in `exclude`, here and in the sections within, and later keys that mean what earlier versions
    did (see `since`).
    """
    values = section.model_dump(exclude=set(exclude))
    for key, field in type(section).model_fields.items():
        if key not in values:
            continue
        value, extra = getattr(section, key), field.json_schema_extra
        if isinstance(value, BaseModel):
            values[key] = fingerprint_values(value, exclude)
        elif isinstance(value, list) and any(isinstance(item, BaseModel) for item in value):
            values[key] = [fingerprint_values(item, exclude) for item in value]
        if isinstance(extra, dict) and "since" in extra:
            default = extra.get("as_before", field.get_default(call_default_factory=True))
            covered = fingerprint_values(default, exclude) if isinstance(default, BaseModel) else default
            if values[key] == covered:
                del values[key]
    return values


def of_before(section: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a section as a version wrote them, with those that mean the same for keys that came later.

    Only keys whose default is another than that (`since` with `as_before`) are added, here and in the sections within.

    Args:
        section: whose values they are.
        values: by key, not validated yet; all that the version had.
    """
    found = dict(values)
    for key, field in section.model_fields.items():
        extra, inner = field.json_schema_extra, field.annotation
        if isinstance(extra, dict) and "as_before" in extra:
            found.setdefault(key, extra["as_before"])
        elif isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(found.get(key), dict):
            found[key] = of_before(inner, found[key])
    return found
