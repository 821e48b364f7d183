"""The base of every section of a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def distinct(names: list[Any], what: str, *, may_be_empty: bool) -> list[Any]:
    """Return names as they are; refuse those that are named twice, and none where there must be some."""
    if len(set(names)) != len(names):
        raise ValueError(f"{what} are named more than once")
    if not names and not may_be_empty:
        raise ValueError(f"{what} are empty")
    return names
