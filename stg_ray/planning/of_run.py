"""The plan of what is left of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.outlook import FORECAST, outlook_sentence
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.cluster.placement import Resources
from stg_ray.config.loading import set_values
from stg_ray.data.parts import read_index
from stg_ray.planning.estimate import estimate
from stg_ray.planning.networks import Place, trained_networks
from stg_ray.settling import settle


def estimate_of_run(
    directory: str, overrides: Iterable[str] = (), nodes: Mapping[str, Resources] | None = None
) -> list[tuple[str, str]]:
    """Estimate what is left to do of a run, and say what it expects of grouping where it knows.

    Args:
        directory: of the run.
        overrides: `section.key=value` of settings to change.
        nodes: resources of the nodes of a cluster, by their names.

    Returns:
        As `estimate` does; a stage that is done has one line.

    Raises:
        InputError: the directory holds no run, or a changed setting is refused.
    """
    run, overrides = RunDir(directory), list(overrides)
    config = set_values(run.read_config(), overrides)
    done = [stage for stage in config.stages if run.is_done(stage, config)]
    ours = Groups.from_dict(run.read_json("groups.json")) if "group" in done else None
    parts, there = run.sub("parts") if "parts" in done else None, set[Place]()
    searched: Groups | None = None
    if ours is not None and parts is not None and "profile" in done:
        index = read_index(parts)
        if run.exists("search.json") and not overrides:  # they may be the search's
            group_of = {task: n for n, group in enumerate(run.read_json("search.json")["groups"]) for task in group}
            searched = Groups.from_labels(ours.tasks, np.array([group_of[task] for task in ours.tasks]), "searched")
        there = trained_networks(run, as_tuned(run, settle(config, index)), index, ours, searched)
    lines = estimate(config, nodes, done, parts, ours, there, searched)
    if run.exists(FORECAST):
        lines.insert(-1, ("forecast", outlook_sentence(run.read_json(FORECAST))))
    return lines
