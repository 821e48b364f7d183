"""The layout of arrays of images: (N, C, H, W), channels before rows and columns, is what every trunk reads."""

from __future__ import annotations

import numpy as np

from stg_ray.errors import InputError

CHANNELS = (1, 3, 4)
"""Numbers of channels of grey, colour, and colour images with opacity."""
SHORTEST_SIDE = 8
"""Pixels from which on the second and third dimension look like rows and columns."""


def check_channels_first(inputs: np.ndarray) -> None:
    """Refuse images (N, H, W, C), which would be taken for images of H channels.

    An array looks like them if it has four dimensions, of which the last is a number of channels, and the second and
    third are sides of `SHORTEST_SIDE` or more; if the last is 1, only bytes or squares do, because other arrays
    (N, C, T, 1) are series of one dimension.

    Raises:
        InputError: the inputs look like images (N, H, W, C).
    """
    if inputs.ndim != 4 or inputs.shape[3] not in CHANNELS or min(inputs.shape[1:3]) < SHORTEST_SIDE:
        return
    _, rows, columns, channels = inputs.shape
    if channels == 1 and inputs.dtype != np.uint8 and rows != columns:
        return
    raise InputError(
        f"inputs have the shape {inputs.shape}: are these images of {rows} x {columns} pixels with the channels last? "
        "Expected channels first: transpose them, inputs.transpose(0, 3, 1, 2); if they are "
        f"{rows} channels of {columns} x {channels} values, give them as (N, {rows}, {columns * channels})"
    )
