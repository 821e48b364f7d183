"""What a configuration leaves to the tasks and to the devices: settled where these are known, kept in config.yaml."""

from __future__ import annotations

from stg_ray.affinities.estimators import methods_for
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config import Config
from stg_ray.config.sections import TRAININGS
from stg_ray.data.parts import PartIndex, read_index
from stg_ray.errors import InputError
from stg_ray.models import build_network
from stg_ray.retraining.stacks import is_small
from stg_ray.training.auto import resolve_auto_on_cluster, resolve_recipe


def settle(config: Config, index: PartIndex) -> Config:
    """Replace what is `auto` in a configuration and depends on the tasks: the recipe of the trunk, the
    affinities, and whether GPUs pay.

    What depends on the devices that train is settled when there is a cluster.

    Raises:
        InputError: `grouping.weights` or `grouping.files` do not fit the affinities.
    """
    config = _with_gpus(resolve_recipe(config, index.input_shape), index)
    affinity = config.affinity.model_copy(update={"methods": methods_for(config.affinity, index)})
    config = config.model_copy(update={"affinity": affinity})
    try:
        config.check_affinities()
    except ValueError as error:
        raise InputError(str(error)) from error
    return config


def settle_on_cluster(run_dir: RunDir, config: Config) -> Config:
    """Decide what is left to the devices, and keep it: a resumed run must not decide anew, perhaps on other devices."""
    if not config.has_auto:
        return config
    index = read_index(run_dir.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    config = resolve_auto_on_cluster(config, network, index.input_shape)
    run_dir.write_config(config)
    return config


def _with_gpus(config: Config, index: PartIndex) -> Config:
    """Leave the GPUs to networks that keep one busy, where it is left to us."""
    left = {name: training for name in TRAININGS if (training := getattr(config, name)).gpus == "auto"}
    if not left:
        return config
    gpus = 0.0 if is_small(config, index) else 1.0
    return config.model_copy(
        update={name: training.model_copy(update={"gpus": gpus}) for name, training in left.items()}
    )
