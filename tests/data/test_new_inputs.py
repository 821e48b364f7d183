"""Inputs that are to be predicted are compared with the training rows, so that another unit is not overlooked."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stg_ray.data.images import decode
from stg_ray.data.new_inputs import checked_inputs
from stg_ray.data.parts import PartIndex, index_of
from stg_ray.errors import InputError
from stg_ray.tasks import TaskSet

RNG = np.random.default_rng(0)
N = 60
LABELS = np.stack([np.arange(N) % 2, np.arange(N) // 2 % 2], axis=1)
IMAGES = RNG.integers(0, 256, (N, 3, 4, 5), dtype=np.uint8)
FEATURES = RNG.normal([40, 0, 1e6], [12, 1, 3e5], (N, 3))
INDEX = {
    "bytes": index_of(TaskSet.from_arrays(IMAGES, LABELS)),
    "floats": index_of(TaskSet.from_arrays(FEATURES, LABELS)),
}
UNIT = index_of(TaskSet.from_arrays(IMAGES / 255, LABELS))
"""Of images from 0 to 1."""
SQUARE = index_of(TaskSet.from_arrays(IMAGES[..., :4], LABELS))


def checked(inputs: Any, kind: str) -> torch.Tensor:
    found = checked_inputs(inputs, INDEX[kind], torch.uint8 if kind == "bytes" else torch.float32)
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (IMAGES, "bytes"),
        (IMAGES.astype(np.int64), "bytes"),
        (IMAGES.astype(np.float64), "bytes"),
        (IMAGES * 0.9, "bytes"),  # pixels that were resized
        (np.zeros((3, 3, 4, 5)), "bytes"),
        (torch.from_numpy(IMAGES), "bytes"),
        (np.ma.masked_greater(IMAGES, 255), "bytes"),
        (FEATURES, "floats"),
        (FEATURES[:1], "floats"),
        (FEATURES.tolist(), "floats"),
        (FEATURES.astype(">f8"), "floats"),
        (FEATURES.astype(np.longdouble), "floats"),
        (FEATURES[::-1], "floats"),
        (FEATURES[:, ::-1].copy()[:, ::-1], "floats"),
        (IMAGES[..., ::-1], "bytes"),  # flipped
        (IMAGES.astype(">u8")[::-1], "bytes"),
        (torch.tensor(FEATURES, requires_grad=True), "floats"),
        (torch.tensor(FEATURES).bfloat16(), "floats"),
        (np.zeros((5, 3)), "floats"),
        (np.zeros((0, 3)), "floats"),
        (IMAGES[:0] / 255, "bytes"),
    ],
)
def test_inputs_as_in_training_pass(inputs: Any, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checked(inputs, kind)
    assert len(found) == len(inputs)
    assert not found.requires_grad
    assert found.dtype == torch.float32 or kind == "bytes"
    expected = inputs.detach().float().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs, np.float32)
    np.testing.assert_array_equal(found.float().numpy(), expected)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        (
            IMAGES / 255,
            "bytes",
            "from 0 to 1, and the networks were trained on bytes from 0 to 255: multiply them by 255",
        ),
        (IMAGES / 127.5 - 1, "bytes", "from -1 to 1, .* not normalised"),
        (IMAGES.astype(np.float32) * 257, "bytes", "from 0 to 65535, and the networks were trained on bytes"),
        (
            IMAGES.transpose(0, 2, 3, 1),
            "bytes",
            r"expected \(N, 3, 4, 5\): the channels are last, give inputs.transpose",
        ),
        (IMAGES[0], "bytes", r"expected \(N, 3, 4, 5\): this is a single input, give inputs\[None\]"),
        (np.where(np.arange(N)[:, None] > 56, np.nan, FEATURES), "floats", "NaN.* in 3 rows, the first is row 57"),
        (
            np.where(np.arange(N)[:, None] == 4, 1e300, FEATURES),
            "floats",
            "infinite values in 1 rows, the first is row 4",
        ),
        (np.ma.masked_greater(FEATURES, 1), "floats", "NaN, masked or infinite values in .* rows, the first"),
        (np.ma.masked_all((1, 3)), "floats", "NaN, masked .* in 1 rows, the first is row 0"),
        (FEATURES.astype(str), "floats", "the type <U.*expected numbers"),
        (FEATURES.astype(object), "floats", "the type object: expected numbers"),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, "floats", r"numbers; a row by names is given as pandas.DataFrame\(\[row\]\)"),
        ([[1.0, 2.0, 3.0], [1.0]], "floats", "no array of numbers"),
        (np.zeros(3), "floats", "this is a single input"),
        (np.zeros((2, 4)), "floats", r"have the shape \(2, 4\): expected \(N, 3\)$"),
    ],
)
def test_inputs_that_cannot_be_right_are_refused(inputs: Any, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(inputs, kind)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * [1, 1000, 1], "in 1 of 3 features: feature 1 has the median .* in training it was .*same unit"),
        (lambda x: x + np.array([1000, 0, 0]), "in 1 of 3 features: feature 0"),
        (lambda x: (x - x.mean(0)) / x.std(0) * 0.01, "inputs hardly vary"),
    ],
)
def test_another_unit_is_said(change: Callable[[np.ndarray], np.ndarray], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        checked(change(FEATURES), "floats")


@pytest.mark.parametrize("of", [bool, np.uint8, np.int64, np.float32])
def test_masks_for_networks_that_were_trained_on_bytes(of: type) -> None:
    with pytest.warns(UserWarning, match="inputs hardly vary beside those that the networks were trained on"):
        checked((IMAGES > 127).astype(of), "bytes")


def test_bytes_for_networks_that_were_trained_on_unit_pixels() -> None:
    with pytest.warns(UserWarning, match=re.escape("in 3 of 3 channels: channel ")):
        checked_inputs(IMAGES, UNIT, torch.float32)


@given(st.integers(1, 300), st.floats(-5, 5), st.floats(0.2, 5), st.integers(0, 2**32 - 1))
def test_no_warning_for_rows_of_the_same_unit(n: int, shift: float, scale: float, seed: int) -> None:
    """Whatever the mean and the spread within a few standard deviations."""
    index: PartIndex = INDEX["floats"]
    rows = np.random.default_rng(seed).normal(size=(n, 3)) * scale + shift
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked(np.asarray(index.input_mean) + np.asarray(index.input_std) * rows, "floats")


NAMED = pd.DataFrame(FEATURES, columns=["age", "height", "income"])


@pytest.mark.parametrize("order", list(itertools.permutations(NAMED.columns)))
def test_columns_of_a_frame_are_taken_by_name(order: tuple[str, ...]) -> None:
    index = index_of(TaskSet.from_arrays(NAMED, LABELS))
    assert PartIndex.from_dict(json.loads(json.dumps(index.to_dict()))).features == ("age", "height", "income")
    others = pd.DataFrame({"note": [1, "not a feature"] * (N // 2), "id": range(N)})  # of two types, which Arrow lacks
    frame = pd.concat([NAMED[list(order)], others, others], axis=1)
    found = checked_inputs(frame, index, torch.float32)
    np.testing.assert_array_equal(np.asarray(found), FEATURES.astype(np.float32))


def test_a_frame_without_a_feature_is_refused_and_arrays_go_by_position() -> None:
    index = index_of(TaskSet.from_arrays(FEATURES, LABELS, features=["age", "height", "income"]))
    with pytest.raises(InputError, match="lacks the feature 'height' and 1 other: expected the 3 columns"):
        checked_inputs(NAMED[["age"]].assign(Height=1.0), index, torch.float32)
    assert np.asarray(checked_inputs(FEATURES, index, torch.float32)).shape == (N, 3)
    without_names = index_of(TaskSet.from_arrays(FEATURES, LABELS))
    assert "features" not in without_names.to_dict()
    assert np.asarray(checked_inputs(NAMED, without_names, torch.float32)).shape == (N, 3)


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "b"], "2 names of features and inputs"), (["a", "b", "a"], "'a' twice")]
)
def test_names_of_features_are_one_for_each_column(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TaskSet.from_arrays(FEATURES, LABELS, features=names)


def test_images_are_given_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / f"{row}.png" for row in range(3)]
    for path, pixels in zip(paths, IMAGES, strict=False):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(path)
    texts = [str(path) for path in paths]
    for listed in (paths, tuple(texts), np.array(texts), pd.Series(texts)):
        assert np.array_equal(checked(listed, "bytes"), IMAGES[:3])
    Image.fromarray(IMAGES[0, 0]).save(paths[0])
    assert np.array_equal(checked(paths[:1], "bytes"), np.repeat(IMAGES[:1, :1], 3, axis=1)), "grey is a colour"
    scaled = checked_inputs(paths, SQUARE, torch.uint8, image_size=4)
    assert np.array_equal(scaled, np.stack([decode(path, 4, "RGB") for path in paths]))
    with pytest.raises(InputError, match=r"inputs have the shape \(3, 3, 4, 5\): expected \(N, 3, 4, 4\)"):
        checked_inputs(paths, SQUARE, torch.uint8)
    with pytest.raises(InputError, match=r"nowhere.png cannot be decoded \(.*No such file"):
        checked([tmp_path / "nowhere.png"], "bytes")
    with pytest.raises(InputError, match="expected numbers"):
        checked(texts, "floats")
