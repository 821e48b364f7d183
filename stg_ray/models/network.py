"""The network of a group of tasks: normalisation, a shared trunk, and one matrix for all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import nn

from stg_ray.config.recipes import as_number, model_of
from stg_ray.errors import InputError
from stg_ray.models.dropout import dropped
from stg_ray.models.lookups import Takes, check_range
from stg_ray.models.outputs import OutputLayout
from stg_ray.models.sizes import check_parameters
from stg_ray.models.trunks import build_trunk, trunk_name

if TYPE_CHECKING:
    from stg_ray.config import ModelConfig
    from stg_ray.tasks import Task


class InputFormat(Protocol):
    """The facts of its inputs that a network is built from; the index of a task set's parts has them.

    Attributes:
        input_shape: shape of one input.
        input_mean, input_scale: what is subtracted and divided by, per channel of images, else per feature.
        common_std: what features are divided by where each is 0 or 1 and `normalize` is auto, else None.
        whole: least and largest input where all are whole numbers that may be ids, else None.
        normalize: whether inputs are standardised.
    """

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        ...

    @property
    def input_mean(self) -> tuple[float, ...]:
        """Mean per channel of images, else per feature."""
        ...

    @property
    def input_scale(self) -> tuple[float, ...]:
        """What inputs are divided by, per channel of images, else per feature."""
        ...

    @property
    def common_std(self) -> float | None:
        """The standard deviation that features of 0 and 1 share, else None."""
        ...

    @property
    def whole(self) -> tuple[int, int] | None:
        """Least and largest input where all are whole numbers that may be ids, else None."""
        ...

    @property
    def normalize(self) -> Literal["auto", "none", "standard"]:
        """Whether inputs are standardised; auto: unless they are ids that the trunk looks up."""
        ...


class Normalize(nn.Module):
    """(x - mean) / std per channel (images) or per feature, in floating point.

    It belongs to the network, so that a served network takes raw inputs.

    Args:
        mean, std: of the training rows, per channel or feature.
        input_shape: shape of one input: (channels, ...) or (features,).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], input_shape: tuple[int, ...]) -> None:
        super().__init__()
        shape = (1, -1) + (1,) * (len(input_shape) - 1)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(shape))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(shape))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise raw inputs (batch, ...)."""
        return (inputs - self.mean) / self.std


class AsGiven(nn.Module):
    """x itself: in int64 for a trunk that looks whole numbers up, else in the floating point of the network.

    Args:
        whole: whether the trunk looks whole numbers up.
    """

    def __init__(self, *, whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.like: torch.Tensor
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Convert raw inputs (batch, ...) to the type that the trunk takes."""
        return inputs.long() if self.whole else inputs.to(self.like.dtype)


class TaskNetwork(nn.Module):
    """A network of K tasks, which computes the outputs (batch, O) of all of them from raw inputs (batch, ...).

    Only the trunk is shared; a task's head is its rows of one linear layer.

    Args:
        normalize: of raw inputs.
        trunk: maps normalised inputs to features (batch, d).
        n_features: d.
        tasks: in the order of their outputs.
        dropout: share of the features that every training step drops.

    Attributes:
        layout: the columns of each task among the O outputs, and the losses and predictions computed from them.
        heads: the linear layer (d to O) of all heads.
    """

    def __init__(
        self, normalize: nn.Module, trunk: nn.Module, n_features: int, tasks: Sequence[Task], dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.normalize = normalize
        self.trunk = trunk
        self.layout = OutputLayout(tasks)
        self.heads = nn.Linear(n_features, self.layout.n_outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (batch, O) in float32: logits, and standardised values of regression tasks."""
        return self.outputs(self.trunk(self.normalize(inputs)), self.heads.weight, self.heads.bias)

    def outputs(self, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Compute outputs (batch, o) in float32 by the heads of some tasks, (o, d) and (o,), of features (batch, d)."""
        if self.dropout and self.training:
            features = dropped(features, self.dropout)
        if not torch.is_autocast_enabled(features.device.type):
            return nn.functional.linear(features, weight, bias)
        # In bf16 outputs would have three digits: confidences would be steps, and rankings full of ties.
        with torch.autocast(features.device.type, enabled=False):
            return nn.functional.linear(features.float(), weight, bias)

    def load_from(self, tensors: Mapping[str, torch.Tensor], tasks: Sequence[Task]) -> None:
        """Take over the weights of a network that has these tasks among others.

        Args:
            tensors: the other network's weights, by name.
            tasks: the other network's, in the order of its outputs.
        """
        columns = dict(zip([task.name for task in tasks], OutputLayout(tasks).columns, strict=True))
        rows = [row for task in self.layout.tasks for row in range(columns[task.name].start, columns[task.name].stop)]
        self.load_state_dict({key: v[rows] if key.startswith("heads.") else v for key, v in tensors.items()})

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters, of the trunk and the heads."""
        return sum(parameter.numel() for parameter in self.parameters())


def build_network(config: ModelConfig, inputs: InputFormat, tasks: Sequence[Task], seed: int) -> TaskNetwork:
    """Build a freshly initialised network; equal seeds give equal trunks, whatever the tasks.

    Args:
        config: of the trunk.
        inputs: shape and normalisation of the inputs.
        tasks: in the order of their outputs.
        seed: of the initialisation; torch's random state is left as it was.

    Raises:
        InputError: the trunk does not take such inputs, looks up whole numbers that the inputs are not or that it has
            no entry for, or a checkpoint does not fit it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = model_of(config, trunk_name(config, inputs.input_shape), inputs.input_shape)
        trunk, n_features, takes = build_trunk(config, inputs.input_shape)
        n_outputs = sum(task.n_outputs for task in tasks)
        check_parameters(n_features * n_outputs, f"heads of {n_outputs:,} outputs on {n_features:,} features")
        normalization = _normalization(config.trunk, trunk, takes, inputs)
        return TaskNetwork(normalization, trunk, n_features, tasks, as_number(config.dropout))


def _normalization(name: str, trunk: nn.Module, takes: Takes, inputs: InputFormat) -> nn.Module:
    """Return the module in front of a trunk: see `data.normalize`."""
    looks_up = takes == "whole" or (takes == "either" and inputs.whole is not None)
    if inputs.normalize == "standard" or (inputs.normalize == "auto" and not looks_up):
        if takes == "whole":
            raise InputError(
                f"model.trunk={name} takes whole numbers only, and data.normalize=standard makes fractions"
            )
        if name == "linear" and inputs.common_std is not None:  # it would learn the noise of rare features
            return AsGiven(whole=False)
        return Normalize(inputs.input_mean, inputs.input_scale, inputs.input_shape)
    if looks_up:
        if inputs.whole is None and inputs.normalize == "auto":
            raise InputError(
                f"model.trunk={name} looks whole numbers up, but not all inputs are whole (below 2^24): give ids, or "
                "round the inputs to them"
            )
        check_range(name, trunk, inputs.input_shape, inputs.whole)
    return AsGiven(whole=looks_up)
