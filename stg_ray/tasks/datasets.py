"""PyTorch data sets as arrays of inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stg_ray.errors import InputError, one_line


def dataset_arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray, list[str] | None, np.ndarray | None]:
    """Return inputs (N, ...), labels (N, K), names of tasks and split (N,) of a data set, or of one for each split.

    Args:
        dataset: a `torch.utils.data.Dataset` with a length, or a mapping from train, val and test to these. An item is
            a pair of an input (tensor, array, PIL image or number) and its labels: K numbers, or numbers by the name of
            the task, None or NaN where one is missing.

    Returns:
        inputs, labels, names where items give them, and the split where a mapping gives it.

    Raises:
        InputError: no length, an item that is no such pair, or inputs or labels that differ in shape or names.
    """
    parts = dict(dataset) if isinstance(dataset, Mapping) else {None: dataset}
    for split, part in parts.items():
        if not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
            where = "" if split is None else f" for {split}"
            raise InputError(
                f"{type(part).__name__}{where} has no length or no items: expected a torch.utils.data.Dataset (collect "
                "an iterable one in arrays first)"
            )
    n_rows = sum(len(part) for part in parts.values())
    if n_rows == 0:
        raise InputError("the data set has no item")
    inputs: np.ndarray | None = None
    labels: list[np.ndarray] = []
    names: list[str] | None = None
    row = 0
    for part in parts.values():
        for number in range(len(part)):
            array, label, own = _item(part, number)
            if inputs is None:
                inputs, names = np.empty((n_rows, *array.shape), array.dtype), own
            elif array.shape != inputs.shape[1:] or own != names or label.shape != labels[0].shape:
                raise InputError(
                    f"item {number} of {type(part).__name__} has an input of the shape {array.shape} and labels of "
                    f"{own or label.shape}, the first {inputs.shape[1:]} and {names or labels[0].shape}: expected one "
                    "shape (resize or pad)"
                )
            if array.dtype != inputs.dtype:  # 1 and 0.5
                inputs = inputs.astype(np.promote_types(inputs.dtype, array.dtype), copy=False)
            inputs[row] = array
            labels.append(label)
            row += 1
    assert inputs is not None, "there is an item"
    split = None if None in parts else np.repeat(list(map(str, parts)), [len(part) for part in parts.values()])
    return inputs if inputs.ndim > 1 else inputs[:, None], np.stack(labels), names, split


def _item(dataset: Any, number: int) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Return the input, the labels (K,) and the names of an item."""
    try:
        item = dataset[number]
    except Exception as error:
        raise InputError(
            f"item {number} of {type(dataset).__name__} raised {type(error).__name__}: {one_line(error)}"
        ) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        size = f" of {len(item)}" if hasattr(item, "__len__") else ""
        found = f"item {number} of {type(dataset).__name__} is a {type(item).__name__}{size}"
        raise InputError(f"{found}: expected a pair (input, labels)")
    data, label = item
    if isinstance(data, Mapping):
        raise InputError(
            f"the input of item {number} of {type(dataset).__name__} is a mapping of {', '.join(map(str, data))}: "
            "expected one array, or a pair of one length, such as (ids, mask), which becomes one input of two rows"
        )
    names = list(map(str, label)) if isinstance(label, Mapping) else None
    values = list(label.values()) if isinstance(label, Mapping) else label
    try:
        labels = np.atleast_1d(_array(values))
        if labels.dtype == object:  # None among numbers
            labels = labels.astype(np.float64)
        return _array(data), labels, names
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"item {number} of {type(dataset).__name__} holds no numbers: {one_line(error)}") from error


def _array(data: Any) -> np.ndarray:
    """Return a tensor, an image (C, H, W), an array or a number as an array."""
    if hasattr(data, "detach"):
        array: np.ndarray = data.detach().cpu().numpy()
        return array
    if hasattr(data, "getbands"):  # a PIL image
        pixels = np.asarray(data)
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if isinstance(data, list | tuple) and any(hasattr(value, "detach") for value in data):
        return np.array([_array(value) for value in data])
    return np.asarray(data)
