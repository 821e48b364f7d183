"""The configuration of a run with the settings that its tuning found, as the stages after it and `sr.load` see it."""

from __future__ import annotations

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.tuning import with_tuned
from stg_ray.stages import TUNING


def as_tuned(run: RunDir, config: Config) -> Config:
    """Return a configuration with what tuning found in its place; as it is where nothing is tuned, or not yet.

    Markers of stages hold the configuration as it was given: what tuning finds follows from that. Networks are kept
    under what they were trained with.
    """
    if not config.tune.trials or not run.is_marked("tune", config):
        return config
    return with_tuned(config, run.read_json(TUNING)["found"])
