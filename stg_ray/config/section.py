"""The base of every section of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidatorFunctionWrapHandler, field_validator


class Section(BaseModel):
    """A section of the configuration: immutable, and without unknown keys.

    A number may be given as a text, since YAML reads `1e-3` as one, but truth values and numbers are kept apart.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _truth_is_no_number(cls, value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        """Refuse `true` for 1, and 1 for `true`, which pydantic takes for each other."""
        validated = validate(value)
        mended = _without_mistaken(value, validated)
        return validated if mended is value else validate(mended)


class _Mistaken:
    """A value that no type takes, which is shown like the one in whose place it stands."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def _without_mistaken(given: Any, taken: Any) -> Any:
    """Return a value in which no type takes those that were taken for what they are not; the value itself if none."""
    if isinstance(given, list | tuple) and isinstance(taken, list | tuple) and len(given) == len(taken):
        inner = [_without_mistaken(*pair) for pair in zip(given, taken, strict=True)]
        return given if all(a is b for a, b in zip(inner, given, strict=True)) else inner
    if isinstance(given, Mapping) and isinstance(taken, Mapping) and len(given) == len(taken):
        pairs = zip(given, given.values(), taken.values(), strict=True)
        mended = {key: _without_mistaken(*pair) for key, *pair in pairs}
        return given if all(mended[key] is given[key] for key in given) else mended
    is_mistaken = isinstance(given, bool) != isinstance(taken, bool) and isinstance(taken, int | float)
    return _Mistaken(given) if is_mistaken else given


def distinct(names: list[Any], what: str, *, may_be_empty: bool) -> list[Any]:
    """Return names as they are; refuse those that are named twice, and none where there must be some."""
    if len(set(names)) != len(names):
        raise ValueError(f"{what} are named more than once")
    if not names and not may_be_empty:
        raise ValueError(f"{what} are empty")
    return names
