"""Versions of what made the artifacts of a stage: the packages', and the number of the stage's results."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from stg_ray.config.writers import own_version
from stg_ray.stages import STAGES

PACKAGES = ("torch", "ray", "numpy", "scikit-learn")
"""Packages that compute."""
BEFORE = "0.1"
"""The version that kept no versions yet."""


def current_versions() -> dict[str, str]:
    """Return the versions of stg_ray, of the packages that compute, and of Python."""
    found = {"stg_ray": own_version(), "python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def has_same_results(stage: str, marker: Mapping[str, Any]) -> bool:
    """Return whether a marker, or what it stands in, is of a version that gives the results of this one."""
    return results_of(marker) == STAGES[stage].results


def results_of(marker: Mapping[str, Any]) -> int:
    """Return the number of the results of a marker; 1 where it has none, as those of version 0.1."""
    number = marker.get("results", 1)
    return number if isinstance(number, int) else 1


def writer_of(marker: Mapping[str, Any]) -> str:
    """Return the version of stg_ray that wrote a marker."""
    versions = marker.get("versions")
    return str(versions.get("stg_ray", BEFORE)) if isinstance(versions, Mapping) else BEFORE


def difference_of(stage: str, marker: Mapping[str, Any]) -> str:
    """Say what this version does otherwise than the one that made the artifacts; empty where it does the same.

    Example:
        >>> difference_of("group", {}).split("; ")[:2]
        ['by stg_ray 0.1', 'since then, 0.2 draws some certainties, and groups under a budget, anew']
        >>> difference_of("group", {"results": 99, "versions": {"stg_ray": "3.0"}})
        'by stg_ray 3.0, which is newer and may give other results'
    """
    made, own = results_of(marker), STAGES[stage].results
    if made == own:
        return ""
    if made > own:
        return f"by stg_ray {writer_of(marker)}, which is newer and may give other results"
    return f"by stg_ray {writer_of(marker)}; since then, {'; '.join(STAGES[stage].changes[made - 1 :])}"
