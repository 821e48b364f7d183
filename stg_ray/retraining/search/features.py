"""Features of frozen layers for all short trainings of a search, computed by Ray tasks."""

from __future__ import annotations

import os
from typing import Any

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import wait_for
from stg_ray.config import Config
from stg_ray.data.parts import part_name, read_index
from stg_ray.imports import work_in
from stg_ray.retraining.frozen import features_folder, parts_of_features, write_index, write_part
from stg_ray.retraining.trials import as_ray_task, device_here
from stg_ray.training.compute import training_process


def write_features(run: Storage, config: Config, start: str, share: float) -> None:
    """Compute the features of all rows that are not there yet, by a Ray task for each part.

    Args:
        run: the run directory, with its parts and the profiled network.
        config: of the run.
        start: digest of the profiled network.
        share: of its layers that are frozen.
    """
    import ray

    index, folder = read_index(run.sub("parts")), features_folder(run, start, share)
    if run.exists(f"{folder}/index.json"):
        return
    compute = as_ray_task(_write_part, config)
    references = [
        compute.options(name=f"features of {part_name(*part)}").remote(
            run.uri, config.model_dump(), folder, share, *part, os.getcwd()
        )
        for part in parts_of_features(index)
        if not run.exists(f"{folder}/{part_name(*part)}.arrow")
    ]
    wait_for(lambda: ray.get(references))
    write_index(run, folder)


def _write_part(
    run: str, config: dict[str, Any], folder: str, share: float, split: str, number: int, directory: str
) -> None:
    """Compute the features of a part, in a Ray task."""
    work_in(directory)
    with training_process(1):
        write_part(Storage(run), Config.model_validate(config), folder, share, split, number, device_here())
