"""The settings that were left to `auto`: config.yaml holds what they became, as if it had been given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config

LEFT = ".stages/auto.json"
"""Their keys."""


def note_auto(run: RunDir, given: Config, before: Config | None = None) -> None:
    """Note the keys that a configuration leaves to `auto`.

    Args:
        given: the configuration as it was given, before anything is settled.
        before: of the finished stages, which `given` was made from by changing some of its keys: what was left to auto
            stays so in the others.
    """
    if before is None:
        run.write_json(LEFT, sorted(_auto_keys(given)))
    elif (left := left_to_auto(run)) is not None:
        old, new = _values(before), _values(given)
        run.write_json(LEFT, sorted({key for key in left if old.get(key) == new.get(key)} | _auto_keys(given)))


def left_to_auto(run: RunDir) -> frozenset[str] | None:
    """Return the keys that were left to `auto`; None for a run of a version that did not note them."""
    return frozenset(run.read_json(LEFT)) if run.exists(LEFT) else None


def _auto_keys(config: Config) -> set[str]:
    return {key for key, value in _values(config).items() if value in ("auto", ["auto"])}


def _values(config: Config) -> dict[str, Any]:
    return dict(_flat("", config.model_dump()))


def _flat(prefix: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value
