"""Trunks as users bring them, for the recipe of those that are none of ours: attention over patches, and recurrence."""

from __future__ import annotations

import math

import torch
from torch import nn

FEATURES, HEADS, LAYERS = 64, 4, 2


class Patches(nn.Module):
    """A small vision transformer: an image as 8 x 8 patches, two layers of attention, the mean of the tokens."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        channels, *sides = shape
        patch = math.ceil(min(sides) / 8)
        self.patches = nn.Conv2d(channels, FEATURES, patch, stride=patch)
        n_tokens = math.prod(side // patch for side in sides)
        self.positions = nn.Parameter(torch.randn(n_tokens, FEATURES) * 0.02)
        layer = nn.TransformerEncoderLayer(
            FEATURES, HEADS, 2 * FEATURES, dropout=0.0, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(FEATURES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features (n, 64) of images (n, c, h, w)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.norm(self.layers(tokens)).mean(dim=1)


class Recurrent(nn.Module):
    """A GRU that reads the features of a row in eight steps, or an image line by line."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.steps = shape[-2] if len(shape) == 3 else 8
        self.width = math.ceil(math.prod(shape) / self.steps)
        self.pad = self.steps * self.width - math.prod(shape)
        self.cells = nn.GRU(self.width, 2 * FEATURES, batch_first=True)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return features (n, 128) of inputs (n, ...)."""
        if inputs.ndim == 4:
            inputs = inputs.transpose(1, 2)
        steps = nn.functional.pad(inputs.flatten(1), (0, self.pad)).unflatten(1, (self.steps, self.width))
        outputs, _ = self.cells(steps)
        features: torch.Tensor = outputs[:, -1]
        return features
