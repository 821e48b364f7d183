"""A network whose lower layers all tasks share, and whose upper layers each group of tasks has of its own.

Such trees are between one network and a network for each group, in what they share and in what they cost (Lu et al.,
CVPR 2017, Fully-adaptive feature sharing; Vandenhende et al., BMVC 2020, Branched multi-task networks).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from stg_ray.errors import InputError
from stg_ray.models.network import AsGiven, TaskNetwork


class BranchedNetwork(TaskNetwork):
    """A network of K tasks in G groups that have the lower layers of the trunk in common.

    Args:
        network: of the K tasks, in the order of their groups; its upper layers are where every branch starts.
        sizes: number of tasks in each group.
        shared_layers: share of the trunk's layers that all groups have in common; see `split_layers`.
        frozen: whether these stay as they are in training.

    Attributes:
        trunk: the layers that all groups have in common.
        branches: the G groups' own layers above.

    Raises:
        InputError: the trunk has no layers to share, or none to branch.
    """

    def __init__(self, network: TaskNetwork, sizes: Sequence[int], shared_layers: float, *, frozen: bool) -> None:
        lower, upper = split_layers(network.trunk, shared_layers)
        with torch.random.fork_rng(devices=[]):
            super().__init__(network.normalize, lower, network.heads.in_features, network.layout.tasks, network.dropout)
        self.heads = network.heads
        self.branches = nn.ModuleList(copy.deepcopy(upper) for _ in sizes)
        tasks = iter(self.layout.tasks)
        self.outputs_of_branch = [sum(next(tasks).n_outputs for _ in range(size)) for size in sizes]
        self.frozen = frozen
        if frozen:
            self.trunk.requires_grad_(requires_grad=False)

    def train(self, mode: bool = True) -> BranchedNetwork:
        """Set the mode of all layers; frozen ones keep that of evaluation, with the statistics of their batch norms."""
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        return self

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (batch, O) in float32: logits, and standardised values of regression tasks."""
        shared = self.trunk(self.normalize(inputs))
        weights = torch.split(self.heads.weight, self.outputs_of_branch)
        biases = torch.split(self.heads.bias, self.outputs_of_branch)
        own = zip(self.branches, weights, biases, strict=True)
        return torch.cat([self.outputs(branch(shared), weight, bias) for branch, weight, bias in own], dim=1)


def split_layers(trunk: nn.Module, share: float) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a trunk into its lower and its upper layers, at least one with weights in each.

    Args:
        trunk: an nn.Sequential, of such ones and of other modules, or a ResNet of torchvision's.
        share: of the layers with weights that are the lower ones, rounded; layers without weights belong to those below
            them.

    Raises:
        InputError: the trunk is none that is known to apply layers one after the other, or has one layer with weights.
    """
    layers = _layers(trunk)
    weighted = [i for i, layer in enumerate(layers) if any(True for _ in layer.parameters())]
    if len(weighted) < 2:
        what = "one layer with weights" if layers != [trunk] else f"a {type(trunk).__name__}, not layers in a sequence"
        raise InputError(
            f"the plan branches and search.frozen split a trunk into lower and upper layers, and this one is {what}: "
            "leave them out, or give an mlp of model.depth=2 or more, a cnn, a resnet, or an nn.Sequential"
        )
    cut = weighted[min(max(1, round(share * len(weighted))), len(weighted) - 1)]
    return nn.Sequential(*layers[:cut]), nn.Sequential(*layers[cut:])


def split_network(network: TaskNetwork, share: float) -> tuple[nn.Module, TaskNetwork]:
    """Split a network into what computes the features of its lower layers from raw inputs, and the network of these.

    Args:
        network: whose layers the two take over.
        share: of the trunk's layers that are the lower ones; see `split_layers`.

    Raises:
        InputError: the trunk cannot be split.
    """
    lower, upper = split_layers(network.trunk, share)
    with torch.random.fork_rng(devices=[]):
        above = TaskNetwork(
            AsGiven(whole=False), upper, network.heads.in_features, network.layout.tasks, network.dropout
        )
    above.heads = network.heads
    return nn.Sequential(network.normalize, lower), above


def _layers(trunk: nn.Module) -> list[nn.Module]:
    """The modules that a trunk applies one after the other; itself where that is not known."""
    if type(trunk) is nn.Sequential:  # not a class made from it, which may do otherwise
        return [layer for child in trunk for layer in _layers(child)]
    if type(trunk).__module__ == "torchvision.models.resnet" and type(trunk).__name__ == "ResNet":
        *features, classifier = trunk.children()
        return [layer for child in (*features, nn.Flatten(), classifier) for layer in _layers(child)]
    return [trunk]
