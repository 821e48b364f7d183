"""The folder of a network under .networks/, and whether it holds the finished network."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from stg_ray.artifacts.contents import damaged_file
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.retraining import held_out
from stg_ray.retraining.plans import NetworkSpec
from stg_ray.stages import STAGES

RESULTS = STAGES["retrain"].results
"""Number of the results of this version: networks of others are trained anew."""


def network_folder(spec: NetworkSpec, config: Config) -> str:
    """Return the folder of a network in its run directory."""
    return f".networks/{spec.fingerprint(config)}"


def is_finished(run: Storage, folder: str) -> bool:
    """Whether a network's folder holds the trained network as it was written, and its scores."""
    try:
        about = run.read_json(f"{folder}/network.json")
    except (FileNotFoundError, ValueError):
        return False
    if not isinstance(about, dict) or about.get("results", 1) != RESULTS:
        return False
    files = [] if about.get("probe") else files_of(folder)
    is_own = about.get("digest") == digest_of(about) and list(about.get("files", ())) == files
    return is_own and damaged_file(run, about["files"]) is None


def files_of(folder: str) -> list[str]:
    """Return the files of a finished network that is no probe, but for network.json."""
    return [f"{folder}/network.pt", f"{folder}/{held_out.FILE}"]


def digest_of(about: dict[str, Any]) -> str:
    """Hash what network.json says, but for this hash itself: its scores go into the results of later runs."""
    values = json.loads(json.dumps({key: value for key, value in about.items() if key != "digest"}))
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
