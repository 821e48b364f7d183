"""What is kept of trained networks: a folder for each, under the hash of all that decides it.

A finished network is a folder with network.pt, its outputs on validation rows and, written last, network.json. One that
was paused has a checkpoint and course.json, its scores epoch by epoch, which stays when the checkpoint is gone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any

from stg_ray.artifacts.contents import damaged_file
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.retraining import held_out
from stg_ray.retraining.specs import NetworkSpec, Pause

RESULTS = 3
"""Number of the results of a network's training: one more when the same settings give another network than before.
Networks of other results are trained anew."""


def is_trained(run: Storage, config: Config, spec: NetworkSpec) -> bool:
    """Return whether a network is trained as far as its spec says: to its end, or to where it pauses."""
    folder = network_folder(spec, config)
    return is_finished(run, folder) if spec.pause is None else scores_until(run, folder, spec.pause) is not None


def network_folder(spec: NetworkSpec, config: Config) -> str:
    """Return the folder of a network in its run directory."""
    return f".networks/{spec.fingerprint(config)}"


def folders_of(specs: Iterable[NetworkSpec], config: Config) -> dict[tuple[str, int], dict[int, str]]:
    """Return the folders of networks by the numbers of their groups, of each training (plan, seed)."""
    folders: dict[tuple[str, int], dict[int, str]] = {}
    for spec in specs:
        folders.setdefault((spec.plan, spec.seed), {})[spec.group] = network_folder(spec, config)
    return folders


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


def checkpoint_of(folder: str) -> str:
    """Return the name of the checkpoint of an unfinished network."""
    return f"{folder}/checkpoint.pt"


def note_scores(run: Storage, folder: str, scores: list[float], ended: str) -> None:
    """Note the scores on the validation rows of a network that pauses, epoch by epoch.

    Args:
        ended: why its training is over; empty if it is not.
    """
    run.write_json(f"{folder}/course.json", {"scores": plain(scores), "ended": ended, "results": RESULTS})


def plain(scores: Iterable[float]) -> list[float | None]:
    """Return scores for JSON: None for one that is none."""
    return [float(score) if math.isfinite(score) else None for score in scores]


def scores_until(run: Storage, folder: str, pause: Pause) -> list[float] | None:
    """Return a network's scores up to the epoch at which it pauses, or its end if that is earlier.

    None where it was not trained so far. An epoch without a score has -inf.
    """
    try:
        about = run.read_json(f"{folder}/course.json")
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(about, dict) or about.get("results") != RESULTS:
        return None
    scores = [-math.inf if score is None else float(score) for score in about["scores"]]
    if not about["ended"] and (pause == "end" or len(scores) < pause):
        return None
    return scores if pause == "end" else scores[:pause]
