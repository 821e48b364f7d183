"""The network of some tasks: normalisation, a shared trunk, and one matrix for all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from stg_ray.models.outputs import OutputLayout
from stg_ray.models.trunks import build_trunk

if TYPE_CHECKING:
    from stg_ray.config import ModelConfig
    from stg_ray.tasks import Task


class InputFormat(Protocol):
    """What a network must know of its inputs: the index of a task set's parts has it.

    Attributes:
        input_shape: shape of one input.
        input_mean, input_std: for normalisation, per channel of images, else per feature.
    """

    @property
    def input_shape(self) -> tuple[int, ...]: ...

    @property
    def input_mean(self) -> tuple[float, ...]: ...

    @property
    def input_std(self) -> tuple[float, ...]: ...


class Normalize(nn.Module):
    """(x - mean) / std per channel (images) or per feature, in floating point; it belongs to the network, so that
    raw inputs are all that a served network needs."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], input_shape: tuple[int, ...]) -> None:
        super().__init__()
        shape = (1, -1) + (1,) * (len(input_shape) - 1)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(shape))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs - self.mean) / self.std


class TaskNetwork(nn.Module):
    """Outputs (batch, O) of all tasks from raw inputs; `layout` says which columns are whose."""

    def __init__(self, normalize: nn.Module, trunk: nn.Module, n_features: int, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.normalize = normalize
        self.trunk = trunk
        self.layout = OutputLayout(tasks)
        self.heads = nn.Linear(n_features, self.layout.n_outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        features = self.trunk(self.normalize(inputs))
        if not torch.is_autocast_enabled(features.device.type):
            return self.heads(features)
        # In bf16 outputs would have three digits: confidences would be steps, and rankings full of ties.
        with torch.autocast(features.device.type, enabled=False):
            return self.heads(features.float())

    def load_from(self, tensors: Mapping[str, torch.Tensor], tasks: Sequence[Task]) -> None:
        """Take over the weights of a network of these tasks and others.

        Args:
            tensors: of that network, by name.
            tasks: that network's, in the order of its outputs.
        """
        columns = dict(zip([task.name for task in tasks], OutputLayout(tasks).columns, strict=True))
        rows = [row for task in self.layout.tasks for row in range(columns[task.name].start, columns[task.name].stop)]
        self.load_state_dict({key: v[rows] if key.startswith("heads.") else v for key, v in tensors.items()})

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def build_network(config: ModelConfig, inputs: InputFormat, tasks: Sequence[Task], seed: int) -> TaskNetwork:
    """A freshly initialised network; equal seeds give equal trunks, whatever the tasks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk, n_features = build_trunk(config, inputs.input_shape)
        return TaskNetwork(Normalize(inputs.input_mean, inputs.input_std, inputs.input_shape), trunk, n_features, tasks)
