"""PyTorch data sets as arrays of inputs and labels, filled item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from stg_ray.errors import InputError, one_line
from stg_ray.tasks.dataset_labels import GatheredLabels

PLAIN = (str, int, float, np.number, np.bool_, type(None))
"""Types of a label among others of several types."""


def dataset_arrays(dataset: Any) -> tuple[np.ndarray, Any, list[str] | None, np.ndarray | None]:
    """Return inputs (N, ...), labels of K tasks, names of tasks and split (N,) of a data set, or of one for each split.

    No more is held than these arrays: an item is forgotten once it is in them.

    Args:
        dataset: a `torch.utils.data.Dataset` with a length, or a mapping from train, val and test to these. An item is
            a pair of an input (tensor, array, PIL image or number) and its labels: one or K numbers or texts, or these
            by the name of the task, None or NaN where one is missing.

    Returns:
        inputs, labels as `TaskSet.from_arrays` takes them, names where items give them, and the split where a mapping
        gives it.

    Raises:
        InputError: no length, an item that is no such pair, or inputs or labels that differ in shape or names.
    """
    parts = dict(dataset) if isinstance(dataset, Mapping) else {None: dataset}
    for split, part in parts.items():
        _check_is_dataset(part, "" if split is None else f" for {split}")
    n_rows = sum(len(part) for part in parts.values())
    if n_rows == 0:
        raise InputError("the data set has no item")
    inputs: np.ndarray | None = None
    labels = GatheredLabels(n_rows)
    for row, (where, array, label, own) in enumerate(_items(parts)):
        if inputs is None:
            inputs, labels.names = np.empty((n_rows, *array.shape), array.dtype), own
        elif array.shape != inputs.shape[1:] or own != labels.names or len(label) != labels.n_tasks:
            raise InputError(
                f"{where} has an input of the shape {array.shape} and labels of {own or (len(label),)}, the first "
                f"{inputs.shape[1:]} and {labels.names or (labels.n_tasks,)}: expected one shape and the same tasks "
                "(resize, pad or convert images)"
            )
        if array.dtype != inputs.dtype:  # 1 and 0.5
            inputs = inputs.astype(np.promote_types(inputs.dtype, array.dtype), copy=False)
        inputs[row] = array
        labels.add(row, label)
    assert inputs is not None, "there is an item"
    split = None if None in parts else np.repeat(list(map(str, parts)), [len(part) for part in parts.values()])
    return inputs if inputs.ndim > 1 else inputs[:, None], labels.finished(), labels.names, split


def _check_is_dataset(part: Any, where: str) -> None:
    """Refuse what has no length and items that can be counted."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(part).__mro__}
    instead = ""
    if "torch.utils.data.dataloader.DataLoader" in kinds:
        instead = "yields batches: give its data set, loader.dataset"
    elif "torch.utils.data.dataset.IterableDataset" in kinds:
        instead = "can only be iterated: give a list of its items, list(dataset), or arrays to TaskSet.from_arrays"
    elif not (hasattr(part, "__len__") and hasattr(part, "__getitem__")):
        instead = "has no length or no items: expected a torch.utils.data.Dataset"
    if instead:
        raise InputError(f"{type(part).__name__}{where} {instead}")


def _items(parts: Mapping[Any, Any]) -> Iterator[tuple[str, np.ndarray, np.ndarray, list[str] | None]]:
    """Yield the place of each item for messages, its input, its labels (K,) and their names."""
    for part in parts.values():
        for number in range(len(part)):
            where = f"item {number} of {type(part).__name__}"
            try:
                item = part[number]
            except Exception as error:
                raise InputError(f"{where} raised {type(error).__name__}: {one_line(error)}") from error
            yield where, *_divided(item, where)


def _divided(item: Any, where: str) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Return the input, the labels (K,) and the names of an item."""
    if not isinstance(item, tuple | list) or len(item) != 2:
        size = f" of {len(item)}" if hasattr(item, "__len__") else ""
        several = isinstance(item, tuple | list) and len(item) > 2
        more = ", several labels together: (input, (label, label))" if several else ""
        if isinstance(item, Mapping):  # as a data set of Hugging Face's gives them
            more = f", such as (item[NAME], {{NAME: item[NAME], ...}}) of {', '.join(map(str, item))}"
        raise InputError(f"{where} is a {type(item).__name__}{size}: expected a pair (input, labels){more}")
    data, label = item
    if isinstance(data, Mapping):
        raise InputError(
            f"the input of {where} is a mapping of {', '.join(map(str, data))}: "
            "expected one array, or a pair of one length, such as (ids, mask), which becomes one input of two rows"
        )
    names = list(map(str, label)) if isinstance(label, Mapping) else None
    values = list(label.values()) if isinstance(label, Mapping) else label
    try:
        labels = np.atleast_1d(_array(values))
        array = _array(data)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{where} holds no numbers: {one_line(error)}") from error
    if labels.ndim > 1:
        raise InputError(f"{where} has labels of the shape {labels.shape}: expected one value for each task")
    plain = labels.tolist() if labels.dtype == object else ()
    if labels.dtype.kind not in "biufUO" or not all(isinstance(value, PLAIN) for value in plain):
        raise InputError(f"{where} holds no numbers nor texts as labels: {' '.join(repr(values).split())[:60]}")
    return array, labels, names


def _array(data: Any) -> np.ndarray:
    """Return a tensor, an image (C, H, W), an array or a number as an array."""
    if hasattr(data, "detach"):
        tensor = data.detach().cpu()
        array: np.ndarray = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        return array
    if hasattr(data, "getbands"):  # a PIL image
        pixels = np.asarray(data.convert("RGB") if data.getbands()[0] == "P" else data)  # no numbers of a palette
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    if isinstance(data, list | tuple):
        values = [_array(value) if hasattr(value, "detach") or hasattr(value, "getbands") else value for value in data]
        if any(value is None or isinstance(value, str) for value in values):
            return np.array(values, dtype=object)
        if all(isinstance(value, np.ndarray) and value.shape == (1,) for value in values):
            return np.concatenate(values)  # labels as tensors of one number each
        return np.array(values)
    return np.asarray(data)
