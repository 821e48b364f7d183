"""The values of a configuration that its fingerprints cover, and keys that came after version 0.1."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, Field


def since(version: str) -> Any:
    """Mark a key that came after version 0.1: `key: Annotated[T, since("0.2")] = default`.

    Fingerprints leave it out while it holds its default, so that run directories, trained networks and laid out parts
    of earlier versions stay valid. Its default must mean what earlier versions did, and must never change.
    """
    return Field(json_schema_extra={"since": version})


def fingerprint_values(section: BaseModel, exclude: Collection[str] = ()) -> dict[str, Any]:
    """Return the values of a section that a fingerprint covers, as `model_dump` writes them.

    Left out are the keys in `exclude`, here and in the sections within, and later keys that hold their defaults (see
    `since`).
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
            default = field.get_default(call_default_factory=True)
            covered = fingerprint_values(default, exclude) if isinstance(default, BaseModel) else default
            if values[key] == covered:
                del values[key]
    return values
