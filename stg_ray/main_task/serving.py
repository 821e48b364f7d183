"""Predictions of a main task by the networks that `auxiliary` trained for it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.trust import check_code
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.data.parts import read_index, read_part
from stg_ray.errors import InputError, unknown
from stg_ray.retraining.kept import is_finished
from stg_ray.serving import Predictor, load_network
from stg_ray.stages import AUXILIARY
from stg_ray.training.compute import Compute


def load_auxiliary(
    directory: str | os.PathLike[str],
    main: str,
    way: str | None = None,
    *,
    training: int = 0,
    device: torch.device | str = "cpu",
    trust_code: bool = False,
) -> Predictor:
    """Load a network that `auxiliary` trained for a main task; it predicts that and the tasks that it was trained with.

    Args:
        directory: the run directory, a path or a URI.
        main: the main task.
        way: alone, all, best_single, kept or adaptive; by default the best on validation rows.
        training: number of the training, from 0.
        device: where it predicts.
        trust_code: as in `sr.load`.

    Raises:
        InputError: the run knows no auxiliaries of that task, has no such way or training, or names code that is not
            trusted; the network is not as it was left; or there is no such device here.

    Example:
        >>> import stg_ray as sr
        >>> sr.load_auxiliary("runs/tiny", main="a1")
        Traceback (most recent call last):
        ...
        stg_ray.errors.InputError: no auxiliaries of 'a1' in ... find them first with stg-ray auxiliary
    """
    run = RunDir(directory)
    config = run.read_config()
    run.require("parts", config)
    run.check_file("affinity", AUXILIARY)
    check_code(run, config, trust_code=trust_code)
    mains: dict[str, Any] = run.read_json(AUXILIARY)["mains"] if run.exists(AUXILIARY) else {}
    if main not in mains:
        known = f"it knows those of {', '.join(mains)}" if mains else "it has none yet"
        raise InputError(f"no auxiliaries of {main!r} in {run.uri} ({known}): find them first with stg-ray auxiliary")
    ways = mains[main]["ways"]
    way = max(ways, key=lambda name: ways[name]["val"]) if way is None else way
    if way not in ways:
        raise InputError(unknown(way, ways, "way to train"))
    folders = ways[way]["networks"]
    if not 0 <= training < len(folders):
        raise InputError(f"training={training}: expected 0 to {len(folders) - 1}")
    if not is_finished(run, folders[training]):
        raise InputError(f"{folders[training]} in {run.uri} is not as it was left: give stg-ray auxiliary once more")
    index, config = read_index(run.sub("parts")), as_tuned(run, config)
    names = run.read_json(f"{folders[training]}/network.json")["tasks"]
    network = load_network(run, config, index, names, folders[training])
    dtype = torch.from_numpy(read_part(run.sub("parts"), "train", 0).inputs[:1].copy()).dtype
    own = replace(index, tasks=network.layout.tasks, rarer_in_test=None)
    groups = Groups.from_labels(names, np.zeros(len(names), dtype=np.int64), way)
    predictor = Predictor(own, groups, [network], compute=Compute.of(config.retrain, device), input_dtype=dtype)
    predictor.image_size = config.data.side_of_images
    return predictor
