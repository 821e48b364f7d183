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


def nan_where_masked(data: Any) -> Any:
    """Return a masked array of numbers as one with NaN where it is masked; anything else as it is."""
    if not isinstance(data, np.ma.MaskedArray) or data.dtype.kind not in "biuf":
        return data
    return np.where(np.ma.getmaskarray(data), np.nan, data.data) if np.ma.is_masked(data) else data.data


def check_same_order(**parts: Any) -> None:
    """Refuse pandas objects whose indices have the same rows at other places: rows are taken by position.

    Args:
        parts: frames, columns, mappings from names to columns, or anything else, by their names.

    Raises:
        InputError: there are such objects.
    """
    named: dict[str, Any] = {}
    for name, part in parts.items():
        columns = part.items() if isinstance(part, Mapping) else ()
        named |= {f"{name} {column!r}": own for column, own in columns} or {name: part}
    indexed = {name: part.index for name, part in named.items() if hasattr(part, "iloc") and part.index.is_unique}
    first = next(iter(indexed), "")
    for name, index in indexed.items():
        own = indexed[first]
        if len(index) != len(own) or index.nlevels != own.nlevels or index.equals(own):
            continue
        places = own.astype(object).get_indexer(index.astype(object))  # not of intervals, which may overlap
        elsewhere = np.flatnonzero((places >= 0) & (places != np.arange(len(places))))
        if len(elsewhere):
            here = int(elsewhere[0])
            row = index[here : here + 1].to_list()[0]  # Python's, not np.int64(7)
            raise InputError(
                f"the indices of {first} and {name} have the same rows at other places ({row!r} is at {places[here]} "
                f"and at {here}), and rows are taken by position: give both .loc[rows] of the rows = "
                "one.index.intersection(other.index), or, if they belong together as they stand, drop the index "
                "(.reset_index(drop=True), or .to_numpy())"
            )
