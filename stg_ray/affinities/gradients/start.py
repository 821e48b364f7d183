"""The network at which the landscape is looked at, and the check that its heads are trained or the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.data.parts import read_index
from stg_ray.errors import InputError
from stg_ray.models import TaskNetwork, build_network, load_weights
from stg_ray.models.files import load_trunk, read_checkpoint
from stg_ray.models.outputs import as_labels
from stg_ray.tasks import observed

Learn = Callable[[], Mapping[str, torch.Tensor]]
"""Learns one initialisation for all tasks, and returns its tensors: trunk.*, and heads.* of one head."""


def starting_weights(run: Storage, config: Config, learn: Learn) -> dict[str, torch.Tensor]:
    """Return the weights of the network at which gradients are taken: of `affinity.start`.

    Separate random heads would decide which tasks look alike, and the affinity would be noise (on CIFAR-100 an adjusted
    Rand index of -0.03). So all tasks get one copied head, unless the heads are trained; at an initialisation that was
    learned, the head from which it adapts to any of them.

    Args:
        learn: called where it is to be learned.

    Raises:
        InputError: the checkpoint cannot be read, or is of another network.
    """
    if config.affinity.start == "profiled":
        return load_weights(run, "profile/network.pt")
    index = read_index(run.sub("parts"))
    network = build_network(config.model, index, index.tasks, config.seed)
    if config.affinity.start == "initial":
        copy_one_head(network)
    elif config.affinity.start == "meta":
        tensors, prefix = learn(), "trunk."
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        network.trunk.load_state_dict(own)
        weight, bias = tensors["heads.weight"], tensors["heads.bias"]
        if index.tasks[0].kind == "binary":  # the logit of two classes' outputs
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        give_one_head(network, weight, bias)
    else:
        load_checkpoint(network, config.affinity.start)
    return network.state_dict()


def load_checkpoint(network: TaskNetwork, source: str) -> None:
    """Load a checkpoint of the whole network, or of its trunk: then all tasks get one copied head.

    Args:
        network: is changed.
        source: a path or URI.

    Raises:
        InputError: the checkpoint cannot be read, or is of another network.
    """
    tensors = read_checkpoint(source, key="affinity.start")
    heads = {name: tensors.get(f"heads.{name}") for name in ("weight", "bias")}
    load_trunk(network.trunk, tensors, source, key="affinity.start")
    if all(value is None for value in heads.values()):
        copy_one_head(network)
        return
    for name, before in network.heads.state_dict().items():
        value = heads[name]
        if value is None or value.shape != before.shape:
            found = "no such tensor" if value is None else f"the shape {tuple(value.shape)}"
            raise InputError(
                f"affinity.start: {source} has {found} for heads.{name}, these tasks need {tuple(before.shape)}: "
                "save a checkpoint of the same tasks, or of the trunk alone"
            )
    network.heads.load_state_dict(heads)


@torch.no_grad()
def copy_one_head(network: TaskNetwork) -> None:
    """Give all tasks the same head: class c of every task the same output, a single output that of class 0."""
    widest = max(network.layout.columns, key=_width)
    give_one_head(network, network.heads.weight[widest].clone(), network.heads.bias[widest].clone())


@torch.no_grad()
def give_one_head(network: TaskNetwork, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give all tasks a head, weight (O, d) and bias (O,): class c of every task output c, from 0 again after O."""
    for columns in network.layout.columns:
        rows = torch.arange(_width(columns)) % len(bias)
        network.heads.weight[columns], network.heads.bias[columns] = weight[rows], bias[rows]


def has_one_head(network: TaskNetwork) -> bool:
    """Return whether all tasks have the same head, as `copy_one_head` gives it."""
    widest = max(network.layout.columns, key=_width)
    weight = network.heads.weight
    return all(torch.equal(weight[columns], weight[widest][: _width(columns)]) for columns in network.layout.columns)


def _width(columns: slice) -> int:
    return int(columns.stop - columns.start)


ROWS_LOOKED_AT = 1024
"""Training rows by which `untrained_heads` is to judge."""

ROWS_AT_ONCE = 64
SHIFTS = 8
"""Pairings of outputs with the labels of other samples."""

UNTRAINED_BELOW = 0.75
"""Heads that were drawn at random predict about half of the tasks better than by chance, trained ones nearly all."""


@torch.no_grad()
def untrained_heads(network: TaskNetwork, inputs: np.ndarray, labels: np.ndarray) -> str | None:
    """Return what is wrong if separate heads look as if they were never trained.

    Such heads decide which tasks look alike.

    A task is predicted better than by chance where its loss is less than that of the same outputs at other samples.

    Args:
        network: in evaluation mode.
        inputs: (n, ...) raw.
        labels: (n, K) as stored.

    Returns:
        None where the heads are trained, or all the same.
    """
    if has_one_head(network):
        return None
    device = network.heads.weight.device
    outputs = torch.cat([network(rows.to(device)) for rows in torch.split(torch.tensor(inputs), ROWS_AT_ONCE)])
    target = as_labels(torch.tensor(labels).to(device))
    losses = network.layout.losses(outputs, target).sum(dim=0)
    n = len(inputs)
    shifted = torch.stack(
        [network.layout.losses(outputs.roll(1 + i * n // SHIFTS, 0), target).sum(dim=0) for i in range(SHIFTS)]
    ).mean(dim=0)
    seen = observed(labels)
    varied = np.where(seen, labels, np.inf).min(axis=0) < np.where(seen, labels, -np.inf).max(axis=0)
    better = int(((losses < shifted).cpu().numpy() & varied).sum())
    if better >= UNTRAINED_BELOW * varied.sum():
        return None
    return (
        f"the network predicts only {better} of {varied.sum()} tasks better than chance; heads that are not trained "
        "decide which tasks look alike, so that the landscape is noise"
    )
