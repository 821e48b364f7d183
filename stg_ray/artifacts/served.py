"""The way in which a plan of a run serves its tasks, by what the retrain stage wrote of it."""

from __future__ import annotations

from typing import cast

import pyarrow.compute as pc

from stg_ray.artifacts.groups import Serving
from stg_ray.artifacts.storage import Storage


def way_of_serving(run: Storage, plan: str) -> Serving:
    """Return the way in which a plan serves where none is asked for: as it was scored.

    The chosen plan serves as it was chosen (chosen.json); a plan that has scores as an ensemble only (results.parquet)
    serves as one; every other plan takes each task from the network that serves it.

    Args:
        run: its directory.
        plan: as in `plans/`.
    """
    if run.exists("chosen.json"):
        chosen = run.read_json("chosen.json")
        if chosen["plan"] == plan:
            return cast("Serving", chosen["serving"])
    if not run.exists("results.parquet"):
        return "argmax"
    own = run.read_parquet("results.parquet").filter(pc.field("plan") == plan)
    return "ensemble" if own["serving"].unique().to_pylist() == ["ensemble"] else "argmax"
