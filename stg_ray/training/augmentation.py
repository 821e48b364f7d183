"""Random flips and crops of batches of images, on their device, drawn for each image by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import pad

from stg_ray.errors import InputError
from stg_ray.seeds import Stream, generator

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig


class Augmentation:
    """Flips images left to right, and shifts them by up to `crop` pixels (zeros come in).

    The draws of an epoch belong to the samples, by their number in the task set: which worker trains on them does not
    matter.

    Args:
        samples: (n,) sample numbers of the rows that batches will index.
        flip: whether half of the images are flipped.
        crop: largest shift in each direction, in pixels.
    """

    def __init__(self, samples: np.ndarray, *, flip: bool, crop: int) -> None:
        self.samples, self.flip, self.crop = samples, flip, crop
        self.flips = torch.zeros(len(samples), dtype=torch.bool)
        self.shifts = torch.full((len(samples), 2), crop)

    @classmethod
    def of(cls, config: TrainingConfig, input_shape: tuple[int, ...], samples: np.ndarray) -> Augmentation | None:
        """Return the augmentation that the configuration asks for, or None.

        Raises:
            InputError: the inputs are no images (C, H, W), or not larger than the shift.
        """
        if not config.flip and not config.crop:
            return None
        if len(input_shape) != 3:
            raise InputError(f"flip and crop are for images (channels, height, width), inputs are {input_shape}")
        if config.crop >= min(input_shape[1:]):
            raise InputError(f"crop={config.crop} shifts images of shape {input_shape} out of sight")
        return cls(samples, flip=config.flip, crop=config.crop)

    def draw(self, stream: Stream, seed: int, epoch: int) -> None:
        """Draw the flips and shifts of a new epoch."""
        n = int(self.samples.max(initial=-1)) + 1
        # A generator for each kind of draw: then sample i's does not depend on how many samples there are here.
        if self.flip:
            flips = generator(stream, seed, epoch, 0).random(n) < 0.5
            self.flips = torch.from_numpy(flips[self.samples])
        if self.crop:
            shifts = generator(stream, seed, epoch, 1).integers(0, 2 * self.crop + 1, (n, 2))
            self.shifts = torch.from_numpy(shifts[self.samples])

    def __call__(self, images: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the augmented images (b, C, H, W).

        Args:
            images: (b, C, H, W) images as the task set has them.
            rows: (b,) their indices among `samples`, on the CPU.
        """
        if self.flip:
            flips = self.flips[rows].to(images.device, non_blocking=True)
            images = torch.where(flips[:, None, None, None], images.flip(-1), images)
        if self.crop:
            height, width = images.shape[2:]
            top, left = self.shifts[rows].to(images.device, non_blocking=True).unbind(dim=1)
            padded = pad(images, (self.crop,) * 4)
            index = torch.arange(max(height, width), device=images.device)
            batch = torch.arange(len(images), device=images.device)[:, None, None]
            y, x = top[:, None] + index[:height], left[:, None] + index[:width]
            images = padded[batch, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
        return images
