"""A trunk that was given in Python as a module: its file in the run directory, which workers and `sr.load` read."""

from __future__ import annotations

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.given import PREFIX, kept
from stg_ray.errors import InputError

TRUNK_FILE = "trunk.pickle"


def keep_trunk(run: Storage, config: Config) -> Config:
    """Write the trunk of a configuration into its run directory, if it was given as a module.

    Returns:
        The configuration with the place of the file.

    Raises:
        InputError: neither this process nor the directory has the module.
    """
    if not config.model.trunk.startswith(PREFIX):
        return config
    pickled = kept(config.model.trunk)
    if pickled is not None:
        run.write_bytes(TRUNK_FILE, pickled)
    elif not run.exists(TRUNK_FILE):
        raise InputError(
            f"model.trunk stands for a module that was given in Python, and {run.uri} has no {TRUNK_FILE}: call sr.run "
            "with the module and this directory"
        )
    return with_trunk_file(run, config)


def with_trunk_file(run: Storage, config: Config) -> Config:
    """Return the configuration of a run directory with the place of a trunk that was given as a module."""
    if not config.model.trunk.startswith(PREFIX):
        return config
    model = config.model.model_copy(update={"trunk_file": f"{run.uri}/{TRUNK_FILE}"})
    return config.model_copy(update={"model": model})
