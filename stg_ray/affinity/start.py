"""The point at which the landscape is looked at."""

from __future__ import annotations

import torch

from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.models import TaskNetwork, build_network, load_weights
from stg_ray.storage import Storage


def starting_network(run: Storage, config: Config) -> TaskNetwork:
    """The profiled network, or a network as it is initialised, with one head copied to every task.

    At a random initialisation with a random head of its own for every task, the heads would decide which tasks look
    alike: what is found there is noise.
    """
    index = read_index(run.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    if config.affinity.start == "profiled":
        network.load_state_dict(load_weights(run, "profile/network.pt"))
    else:
        copy_one_head(network)
    return network.eval()


@torch.no_grad()
def copy_one_head(network: TaskNetwork) -> None:
    """Give all tasks the same head: class c of every task the same output, a single output that of class 0."""
    widest = max(network.layout.columns, key=lambda own: own.stop - own.start)
    weight, bias = network.heads.weight[widest].clone(), network.heads.bias[widest].clone()
    for own in network.layout.columns:
        width = own.stop - own.start
        network.heads.weight[own], network.heads.bias[own] = weight[:width], bias[:width]
