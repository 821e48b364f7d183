"""How often the test rows of a run were looked at: with every further grouping or setting that is scored on them, the
best of the scores tells more of luck."""

from __future__ import annotations

import hashlib

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.stages import LOOKS, STAGES

COUNTING = next(name for name, stage in STAGES.items() if LOOKS in stage.counted)
"""The stage that watches the count."""


def count_look(run: RunDir, config: Config) -> None:
    """Note that the plans of a configuration were scored on test rows; the same ones again are the same look."""
    groups = hashlib.sha256(run.read_bytes("groups.json")).hexdigest()[:16]
    note_look(run, f"{config.fingerprint(STAGES['retrain'].sections)} {groups}")


def note_look(run: RunDir, look: str) -> None:
    """Note that something was scored on test rows, by what tells it from other looks."""
    noted = _noted(run)
    if look not in noted:
        run.write_json(LOOKS, [*noted, look])
        run.record(COUNTING, LOOKS)  # if that is done: what was found afterwards is no damage


def n_looks(run: RunDir) -> int:
    """Return how many configurations and groups were scored on the test rows of a run."""
    return len(_noted(run))


def _noted(run: RunDir) -> list[str]:
    try:
        noted = run.read_json(LOOKS)
    except (FileNotFoundError, ValueError):
        return []
    return noted if isinstance(noted, list) else []
