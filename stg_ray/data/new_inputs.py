"""Inputs that trained networks are to predict, compared with those that they were trained on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stg_ray.config.paths import expanded
from stg_ray.data.parts import PartIndex
from stg_ray.data.rows import MappedInputs
from stg_ray.errors import InputError, one_line
from stg_ray.shown import counted
from stg_ray.tasks.containers import nan_where_masked, plain_array
from stg_ray.tasks.frames import as_table, input_array, is_frame
from stg_ray.tasks.sparse_rows import SparseRows, stays_sparse

LOOKED_AT = 256
"""Rows, evenly spread over all, whose range is compared with the training rows'."""
FAR = 20.0
"""Standard deviations of the training rows: where half of a feature's values are further away from their mean, the
inputs have another unit."""
NARROW = 0.02
"""Share of the training rows' standard deviation: where no feature varies by more, the inputs have another unit."""
ENOUGH = 20
"""Values of a feature from which on their variation is compared."""


def check_batch_size(batch_size: int) -> None:
    """Check how many inputs are to be predicted at once.

    Raises:
        InputError: it is no number of 1 or more.
    """
    if not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise InputError(f"batch_size={batch_size!r}: expected a whole number of 1 or more")


def checked_inputs(
    inputs: Any, index: PartIndex, trained: torch.dtype, *, ids: bool = False, image_size: int | None = None
) -> torch.Tensor | MappedInputs:
    """Return inputs (N, ...) on the CPU as networks take them: bytes as they are, all else in float32.

    Large sparse matrices of SciPy's become dense by batch.

    Args:
        inputs: an array or a tensor; a data frame, whose columns are taken by their names where the features have some;
            or the paths of images, where the networks were trained on pixels in bytes.
        index: of the parts that the networks were trained on.
        trained: type of the inputs in these parts.
        ids: whether the networks look the inputs up.
        image_size: to which images are cropped and scaled; None: they have the shape of the training rows.

    Warns:
        UserWarning: the inputs are far from the training rows, or all but constant beside them.

    Raises:
        InputError: the inputs are no numbers, lack a feature, have another shape, are not finite; are not whole, where
            they are ids; are not from 0 to 255, where the networks were trained on bytes; or are files that hold no
            image.
    """
    if trained == torch.uint8 and len(index.input_shape) == 3 and (paths := _paths(inputs)):
        inputs = _pixels(paths, index.input_shape[0], image_size)
    if index.features is not None and is_frame(inputs):
        inputs = _by_name(inputs, index.features)
    if hasattr(inputs, "tocsr") and stays_sparse(inputs):
        rows = SparseRows.of(inputs)
        _check_shape(rows.shape, index.input_shape)
        if len(rows):
            _compare(torch.from_numpy(rows[:: -(-len(rows) // LOOKED_AT)]), index)
        return MappedInputs([rows], np.arange(len(rows)))
    tensor = _as_tensor(inputs)
    _check_shape(tuple(tensor.shape), index.input_shape)
    if tensor.dtype == torch.uint8 and trained == torch.uint8:
        values = tensor
    else:
        values = tensor if tensor.dtype == torch.uint8 else tensor.float()
        if len(values):
            _check_finite(values)
            if ids:
                _check_whole(values)
            elif trained == torch.uint8:
                _check_bytes(values)
    if len(values) and not ids:
        _compare(values, index)
    return values


def _paths(inputs: Any) -> list[Path]:
    """Return paths that are given instead of inputs; none of other inputs."""
    given = inputs.tolist() if getattr(inputs, "ndim", 0) == 1 and hasattr(inputs, "tolist") else inputs
    is_listed = isinstance(given, list | tuple) and all(isinstance(each, str | os.PathLike) for each in given)
    return [expanded(each) for each in given] if is_listed else []


def _pixels(paths: Sequence[Path], channels: int, size: int | None) -> np.ndarray:
    """Read images (N, C, H, W) as those of a run are read."""
    from stg_ray.data.images import decode_all

    return decode_all(paths, lambda i: str(paths[i]), size, "L" if channels == 1 else "RGB")


def _by_name(frame: Any, features: Sequence[str]) -> np.ndarray:
    """The features (N, F) among the columns of a data frame, in the order in which the networks take them."""
    table = as_table(frame, only=set(features))
    if lacking := [name for name in features if name not in table.column_names]:
        others = f" and {counted(len(lacking) - 1, 'other')}" if len(lacking) > 1 else ""
        raise InputError(
            f"the data frame lacks the feature {lacking[0]!r}{others}: expected the {len(features):,} columns that the "
            f"networks were trained on, by name (an array is taken by position: {', '.join(features[:3])}"
            f"{', ...' if len(features) > 3 else ''})"
        )
    return input_array(table.select(list(features)))


def _as_tensor(inputs: Any) -> torch.Tensor:
    if isinstance(inputs, torch.Tensor):
        return inputs.detach().cpu()
    try:
        array = np.asarray(plain_array(nan_where_masked(inputs)))
    except ValueError as error:  # ragged rows
        raise InputError(f"inputs are no array of numbers ({one_line(error)})") from error
    if array.dtype.kind not in "biuf":
        by_names = "; a row by names is given as pandas.DataFrame([row])" if hasattr(inputs, "keys") else ""
        raise InputError(f"inputs have the type {array.dtype}: expected numbers{by_names}")
    # torch lacks some types of NumPy's, and takes no array that is reversed or cannot be written to (those of frames).
    with np.errstate(over="ignore"):
        values = array.astype(np.uint8 if array.dtype == np.uint8 else np.float32, copy=False)
    return torch.as_tensor(np.require(values, requirements=["C", "W"]))


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape[1:] == expected and len(shape) > 1:
        return
    hint = ""
    if shape == expected:
        hint = ": this is a single input, give inputs[None]"
    elif len(shape) == 4 and (shape[3], *shape[1:3]) == expected:
        hint = ": the channels are last, give inputs.transpose(0, 3, 1, 2) (of a tensor, .permute(0, 3, 1, 2))"
    raise InputError(f"inputs have the shape {shape}: expected (N, {', '.join(map(str, expected))}){hint}")


def _check_finite(values: torch.Tensor) -> None:
    bad = ~torch.isfinite(values).flatten(1).all(dim=1)
    if bad.any():
        raise InputError(
            f"inputs have NaN, masked or infinite values in {int(bad.sum())} rows, the first is row "
            f"{int(bad.nonzero()[0])}: fill or remove them, as in the training rows"
        )


def _check_whole(values: torch.Tensor) -> None:
    """Refuse fractions, which would be cut off."""
    bad = (values % 1 != 0).flatten(1).any(dim=1)
    if bad.any():
        raise InputError(
            f"inputs have fractions in {int(bad.sum())} rows, the first is row {int(bad.nonzero()[0])}, and the "
            "networks look whole numbers up: expected ids, as in the training rows"
        )


def _check_bytes(values: torch.Tensor) -> None:
    """Refuse what cannot be bytes: numbers from 0 to 1 with fractions are the bytes over 255."""
    low, high = float(values.min()), float(values.max())
    found = f"inputs are from {low:g} to {high:g}, and the networks were trained on bytes from 0 to 255"
    if low < 0 or high > 255:
        raise InputError(f"{found}: give the pixels as they were in training, not normalised (networks do that)")
    if high <= 1 and bool((values % 1 != 0).any()):
        raise InputError(f"{found}: multiply them by 255")


def _compare(values: torch.Tensor, index: PartIndex) -> None:
    """Warn of inputs that are far from the training rows, or all but constant beside them."""
    some = values[:: -(-len(values) // LOOKED_AT)].double()
    by_feature = some.transpose(0, 1).flatten(1)  # (channels or features, values)
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None] for v in (index.input_mean, index.input_std))
    distance = ((by_feature - mean).abs() / std).median(dim=1).values
    what = "channel" if len(index.input_shape) > 1 else "feature"
    if bool((distance > FAR).any()):
        worst = int(distance.argmax())
        warnings.warn(
            f"inputs are far from those that the networks were trained on, in {int((distance > FAR).sum())} of "
            f"{len(distance)} {what}s: {what} {worst} has the median {float(by_feature[worst].median()):g}, in "
            f"training it was {index.input_mean[worst]:g} +- {index.input_std[worst]:g}: have they the same unit?",
            stacklevel=4,
        )
        return
    spread = by_feature.std(dim=1) if by_feature.shape[1] >= ENOUGH else torch.zeros(0)
    if bool((spread > 0).any()) and bool((spread < NARROW * std[:, 0]).all()):
        widest = int((spread / std[:, 0]).argmax())
        warnings.warn(
            f"inputs hardly vary beside those that the networks were trained on: {what} {widest} has the standard "
            f"deviation {float(spread[widest]):g}, in training it was {index.input_std[widest]:g}: have they the same "
            "unit?",
            stacklevel=4,
        )
