"""Images with their channels last are asked about, never taken for images of many channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

LABELS = np.stack([np.arange(40) % 2, np.arange(40) // 2 % 2], axis=1)


@pytest.mark.parametrize(
    ("shape", "dtype", "is_image"),
    [
        ((16, 16, 3), np.uint8, True),
        ((16, 16, 3), np.float32, True),
        ((28, 28, 1), np.float32, True),
        ((16, 24, 1), np.uint8, True),
        ((8, 12, 4), np.int64, True),
        ((16, 24, 1), np.float32, False),  # a series of 24 steps with 16 channels
        ((3, 16, 16), np.uint8, False),
        ((1, 8, 8), np.uint8, False),
        ((4, 8, 4), np.float32, False),
        ((3, 3, 3), np.float32, False),
        ((3, 32, 1), np.uint8, False),
        ((64, 4, 4), np.float32, False),  # feature maps
        ((16, 16), np.uint8, False),
    ],
)
def test_channels_come_first(shape: tuple[int, ...], dtype: Any, is_image: bool) -> None:
    inputs = np.zeros((40, *shape), dtype)
    if not is_image:
        assert TaskSet.from_arrays(inputs, LABELS).inputs.shape == inputs.shape
        return
    with pytest.raises(InputError, match=r"channels last\? Expected channels first: transpose them") as raised:
        TaskSet.from_arrays(inputs, LABELS)
    assert f"if they are {shape[0]} channels of" in str(raised.value)
    assert TaskSet.from_arrays(inputs.transpose(0, 3, 1, 2), LABELS).inputs.shape == (40, shape[2], *shape[:2])
