"""Arrays in the containers of other libraries: PyTorch's tensors, sparse matrices, pandas's columns with an index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stg_ray.errors import InputError


def plain_array(data: Any) -> Any:
    """Return a tensor or a sparse matrix as a dense array of NumPy's; anything else as it is."""
    if hasattr(data, "detach"):  # a tensor: perhaps on a GPU, with gradients, sparse, or of a type that NumPy lacks
        tensor = data.detach().cpu()
        tensor = tensor.to_dense() if str(tensor.layout) != "torch.strided" else tensor
        array: np.ndarray = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
        return array
    return data.toarray() if hasattr(data, "tocsr") and hasattr(data, "toarray") else data


def without_views(data: Any) -> Any:
    """Return a frame or series of polars as Arrow's, its texts in types that all versions of pyarrow read."""
    if type(data).__module__.partition(".")[0] != "polars" or not hasattr(data, "to_arrow"):
        return data
    import polars

    return data.to_arrow(compat_level=polars.CompatLevel.oldest())


def check_same_order(inputs: Any, labels: Any) -> None:
    """Refuse pandas objects whose indices have the same rows in another order: rows are taken by position.

    Args:
        inputs: a frame, or anything else.
        labels: a frame, a mapping from names to columns, or anything else.

    Raises:
        InputError: there are such objects.
    """
    parts = {"inputs": inputs}
    parts |= {f"labels {name!r}": own for name, own in labels.items()} if isinstance(labels, Mapping) else {}
    parts |= {} if isinstance(labels, Mapping) else {"labels": labels}
    indexed = {name: part.index for name, part in parts.items() if hasattr(part, "iloc") and part.index.is_unique}
    first = next(iter(indexed), None)
    for name, index in indexed.items():
        own = indexed[first or name]
        if len(index) == len(own) and not index.equals(own) and index.isin(own).all():
            here, there = index[:1].to_list()[0], own[:1].to_list()[0]  # Python's, not np.int64(7)
            raise InputError(
                f"the index of {name} has the rows of {first} in another order (the first is {here!r}, of {first} "
                f"{there!r}): rows are taken by position, so align them (.loc[other.index]), or, if they are in order "
                "as they stand, drop the index (.reset_index(drop=True))"
            )
