"""The point at which the landscape is looked at."""

from __future__ import annotations

import torch

from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork, build_network, load_weights
from stg_ray.models.files import load_trunk, read_checkpoint
from stg_ray.storage import Storage


def starting_weights(run: Storage, config: Config) -> dict[str, torch.Tensor]:
    """The weights of the profiled network, of a network as it is initialised, or of a checkpoint of the user's.

    At random heads of their own, the heads would decide which tasks look alike, and what is found is noise (on
    CIFAR-100 an adjusted Rand index of -0.03). So all tasks get one copied head, unless the heads are trained.

    Raises:
        InputError: the checkpoint cannot be read, or is of another network.
    """
    if config.affinity.start == "profiled":
        return load_weights(run, "profile/network.pt")
    index = read_index(run.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    if config.affinity.start == "initial":
        copy_one_head(network)
    else:
        load_checkpoint(network, config.affinity.start)
    return network.state_dict()


def load_checkpoint(network: TaskNetwork, source: str) -> None:
    """Load a checkpoint of the whole network, or of its trunk: then all tasks get one copied head."""
    tensors = read_checkpoint(source, key="affinity.start")
    heads = {name: tensors.get(f"heads.{name}") for name in ("weight", "bias")}
    load_trunk(network.trunk, tensors, source, key="affinity.start")
    if all(value is None for value in heads.values()):
        copy_one_head(network)
        return
    own = network.heads.state_dict()
    for name, value in heads.items():
        if value is None or value.shape != own[name].shape:
            found = "no such tensor" if value is None else f"the shape {tuple(value.shape)}"
            raise InputError(
                f"affinity.start: {source} has {found} for heads.{name}, these tasks need {tuple(own[name].shape)}: "
                "save a checkpoint of the same tasks, or of the trunk alone"
            )
    network.heads.load_state_dict(heads)


@torch.no_grad()
def copy_one_head(network: TaskNetwork) -> None:
    """Give all tasks the same head: class c of every task the same output, a single output that of class 0."""
    widest = max(network.layout.columns, key=lambda own: own.stop - own.start)
    weight, bias = network.heads.weight[widest].clone(), network.heads.bias[widest].clone()
    for own in network.layout.columns:
        width = own.stop - own.start
        network.heads.weight[own], network.heads.bias[own] = weight[:width], bias[:width]
