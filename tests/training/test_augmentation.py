"""Flips and crops: each image has its own draw, and the draw belongs to the sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stg_ray.config import ProfileConfig
from stg_ray.errors import InputError
from stg_ray.seeds import Stream
from stg_ray.training.augmentation import Augmentation


@given(
    n=st.integers(1, 12),
    shape=st.tuples(st.integers(1, 3), st.integers(4, 7), st.integers(4, 7)),
    flip=st.booleans(),
    crop=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_equals_one_image_at_a_time(n: int, shape: tuple[int, int, int], flip: bool, crop: int, seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).integers(1, 256, (n, *shape), dtype=np.uint8))
    augment = Augmentation(np.arange(n), flip=flip, crop=crop)
    augment.draw(Stream.PROFILE_AUGMENTATION, seed, 1)
    found = augment(images, torch.arange(n))
    for i in range(n):
        image = images[i].flip(-1) if augment.flips[i] else images[i]
        padded = np.pad(image.numpy(), ((0, 0), (crop, crop), (crop, crop)))
        top, left = augment.shifts[i].tolist()
        assert np.array_equal(found[i].numpy(), padded[:, top : top + shape[1], left : left + shape[2]])


def test_the_draw_belongs_to_the_sample_and_the_epoch() -> None:
    everyone = Augmentation(np.arange(1000), flip=True, crop=2)
    everyone.draw(Stream.PROFILE_AUGMENTATION, 0, 1)
    some = np.array([3, 999, 500, 7])
    few = Augmentation(some, flip=True, crop=2)
    few.draw(Stream.PROFILE_AUGMENTATION, 0, 1)
    assert torch.equal(few.flips, everyone.flips[some])
    assert torch.equal(few.shifts, everyone.shifts[some])
    first_half = Augmentation(np.arange(500), flip=True, crop=2)
    first_half.draw(Stream.PROFILE_AUGMENTATION, 0, 1)
    assert torch.equal(first_half.flips, everyone.flips[:500])
    assert torch.equal(first_half.shifts, everyone.shifts[:500])
    before = everyone.flips.clone()
    assert 400 < int(before.sum()) < 600
    assert set(everyone.shifts.flatten().tolist()) == {0, 1, 2, 3, 4}
    everyone.draw(Stream.PROFILE_AUGMENTATION, 0, 2)
    assert not torch.equal(before, everyone.flips)


def test_only_images_and_only_what_is_asked_for() -> None:
    rows = np.arange(3)
    assert Augmentation.of(ProfileConfig(), (5,), rows) is None
    with pytest.raises(InputError, match="for images"):
        Augmentation.of(ProfileConfig(flip=True), (5,), rows)
    with pytest.raises(InputError, match="out of sight"):
        Augmentation.of(ProfileConfig(crop=8), (3, 8, 8), rows)
