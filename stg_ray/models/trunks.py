"""Trunks: networks shared by all tasks, which map normalised inputs (batch, ...) to features (batch, d)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import nn

from stg_ray.config.recipes import as_number, model_of
from stg_ray.errors import InputError, one_line
from stg_ray.imports import torchvision
from stg_ray.models.dropout import dropped
from stg_ray.models.files import load_trunk, read_checkpoint
from stg_ray.models.lookups import Takes, look
from stg_ray.models.sizes import check_trunk
from stg_ray.models.users import users_trunk

if TYPE_CHECKING:
    from stg_ray.config import ModelConfig

Trunk: TypeAlias = "Callable[[tuple[int, ...], ModelConfig], nn.Module]"

CIFAR_FORM_BELOW = 64
"""Pixels: smaller images leave nothing to a ResNet's strided and pooled first layers."""


def linear(input_shape: tuple[int, ...], config: ModelConfig) -> nn.Module:
    """Build one linear layer to `width` features."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), as_number(config.width)))


class ReluDropout(nn.ReLU):
    """ReLU, and dropout while training (Srivastava et al. 2014); without parameters of its own, as ReLU alone.

    Args:
        share: of the units that a training step drops.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return max(0, x), in training with units dropped and the others scaled up."""
        outputs = super().forward(inputs)
        return dropped(outputs, self.share) if self.training else outputs


def mlp(input_shape: tuple[int, ...], config: ModelConfig) -> nn.Module:
    """Build `depth` layers of `width` units, each with ReLU; the last one's units are the features, which the network
    drops by itself."""
    sizes = [math.prod(input_shape)] + [as_number(config.width)] * as_number(config.depth)
    share = as_number(config.dropout)
    layers: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), ReluDropout(share) if share else nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.ReLU())


def cnn(input_shape: tuple[int, ...], config: ModelConfig) -> nn.Module:
    """Build a small CNN: three 3x3 convolutions (32, 64, 128 channels) with ReLU, halved to at least 4x4, one linear
    layer with ReLU.

    At 32x32x3 and width 128 it has 355,520 parameters.

    Raises:
        InputError: the inputs are no images (channels, height, width).
    """
    if len(input_shape) != 3:
        raise InputError(f"model.trunk=cnn needs images of shape (channels, height, width), inputs are {input_shape}")
    channels, *sides = input_shape
    layers: list[nn.Module] = []
    for n_out in (32, 64, 128):
        layers.append(nn.Conv2d(channels, n_out, 3, padding=1))
        channels = n_out
        if min(sides) >= 8:
            layers.append(nn.MaxPool2d(2))
            sides = [side // 2 for side in sides]
        layers.append(nn.ReLU())  # after pooling it is the same, and has a quarter of the work
    if max(sides) > 4:
        layers.append(nn.AdaptiveAvgPool2d(4))
        sides = [4, 4]
    layers += [nn.Flatten(), nn.Linear(channels * math.prod(sides), as_number(config.width)), nn.ReLU()]
    return nn.Sequential(*layers)


def resnet(depth: int, input_shape: tuple[int, ...]) -> nn.Module:
    """Build torchvision's ResNet (He et al. 2016) without its classifier: 512 features, or 2048 from a depth of 50.

    For images below 64 pixels it has its CIFAR form, whose first convolution is 3x3 without stride and without pooling.

    Raises:
        InputError: the inputs are no images (channels, height, width).
    """
    if len(input_shape) != 3:
        raise InputError(
            f"model.trunk=resnet{depth} needs images of shape (channels, height, width), not {input_shape}"
        )
    channels, *sides = input_shape
    network: nn.Module = getattr(torchvision().models, f"resnet{depth}")()
    if min(sides) < CIFAR_FORM_BELOW:
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network


def _resnet(depth: int) -> Trunk:
    """The builder of a ResNet: the settings of a trunk's size do not apply to it."""
    return lambda input_shape, _config: resnet(depth, input_shape)


TRUNKS: dict[str, Trunk] = {
    "linear": linear,
    "mlp": mlp,
    "cnn": cnn,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
}
"""Builders by the names that `model.trunk` takes, called with the shape of one input and the model's settings."""


def _pretrained(name: str, input_shape: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """torchvision's weights of a ResNet, from torch's cache or downloaded."""
    if not name.startswith("resnet") or input_shape[0] != 3 or min(input_shape[1:]) < CIFAR_FORM_BELOW:
        raise InputError(
            f"model.weights=pretrained: torchvision has weights for resnet18, resnet34 and resnet50 on RGB images of "
            f"{CIFAR_FORM_BELOW} pixels or more, not for {name} on {input_shape}: name a checkpoint, or leave it out"
        )
    try:
        weights = torchvision().models.get_model_weights(name).DEFAULT
        tensors: dict[str, torch.Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"model.weights=pretrained: the weights of {name} are not in torch's cache and cannot be downloaded "
            f"({one_line(error)}): name a checkpoint instead"
        ) from error
    return tensors


def trunk_name(config: ModelConfig, input_shape: tuple[int, ...]) -> str:
    """Return the trunk of a configuration, with `auto` resolved by the shape of one input."""
    if config.trunk != "auto":
        return config.trunk
    return "cnn" if len(input_shape) == 3 else "mlp"


def build_trunk(config: ModelConfig, input_shape: tuple[int, ...]) -> tuple[nn.Module, int, Takes]:
    """Build the trunk of a configuration, and count its features by running it on two blank inputs.

    Args:
        config: the trunk's name, its size, and the checkpoint it starts from.
        input_shape: shape of one input.

    Returns:
        The trunk, the number d of its features, and the numbers that it takes.

    Raises:
        InputError: the trunk is larger than the memory, does not take such inputs, does not give (batch, d), or its
            checkpoint does not fit.
    """
    name = trunk_name(config, input_shape)
    config = model_of(config, name, input_shape)
    check_trunk(name, config, input_shape)
    trunk = TRUNKS[name](input_shape, config) if name in TRUNKS else users_trunk(name, input_shape, config.trunk_file)
    if config.weights == "pretrained":
        load_trunk(trunk, _pretrained(name, input_shape), f"torchvision's {name}")
    elif config.weights is not None:
        load_trunk(trunk, read_checkpoint(config.weights), config.weights)
    training = trunk.training
    features, takes = look(name, trunk.eval(), input_shape)
    trunk.train(training)
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 2:
        found = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
        raise InputError(f"model.trunk={name} gives {found} for 2 inputs: expected features of shape (2, d)")
    if features.shape[1] == 0:
        raise InputError(f"model.trunk={name} gives no features: (2, 0) for 2 inputs")
    return trunk, features.shape[1], takes
