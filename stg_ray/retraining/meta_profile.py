"""A short training of one initialisation for all tasks, at which they are compared (`affinity.start: meta`).

It is a network of the plans like any other, kept by the hash of what decides it, and paused at its end: test rows are
not read for it.
"""

from __future__ import annotations

import io

import torch

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import StgRayError
from stg_ray.models import load_weights
from stg_ray.progress import StageProgress
from stg_ray.retraining.kept import checkpoint_of, is_finished, is_trained, network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trials import run_trials

PREFIX = "network."
"""Of the names of a meta-network's tensors that are not inner rates."""


def meta_profile(run: RunDir, config: Config, progress: StageProgress) -> dict[str, torch.Tensor]:
    """Learn one initialisation for all tasks by `retrain.learner`, `meta.profile_epochs` long, as a trial of Ray Tune.

    Returns:
        Its tensors after its best epoch on validation rows, as those of a network of one task: trunk.*, heads.*.

    Raises:
        StgRayError: it could not be trained.
    """
    tasks, seed = tuple(read_index(run.sub("parts")).names), config.seed
    spec = NetworkSpec("meta-profile", 0, tasks, seed, seed, config.meta.profile_epochs, pause="end")
    weights = _weights(run, config, spec)
    if weights is None:
        failed = run_trials(run, config, [spec], progress, "for all tasks")
        weights = _weights(run, config, spec)
        if weights is None:
            reason = failed.get(network_folder(spec, config), "its trial ended early")
            raise StgRayError(f"the initialisation of affinity.start=meta could not be trained: {reason}")
    return {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}


def _weights(run: RunDir, config: Config, spec: NetworkSpec) -> dict[str, torch.Tensor] | None:
    """The tensors of the best epoch; None where the training is not over.

    A plan whose networks are as long may have finished it since: then its checkpoint is gone.
    """
    folder = network_folder(spec, config)
    if is_finished(run, folder):
        return load_weights(run, f"{folder}/network.pt")
    if not (is_trained(run, config, spec) and run.exists(checkpoint_of(folder))):
        return None
    saved = torch.load(io.BytesIO(run.read_bytes(checkpoint_of(folder))), weights_only=True, map_location="cpu")
    weights: dict[str, torch.Tensor] = saved["state"]["best_weights"]
    return weights
