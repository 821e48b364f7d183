"""Types of Arrow's columns in plain words, and the columns among the inputs that hold no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stg_ray.tasks.kinds import listed

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN = 3
"""Columns of a kind that a message names."""

RECIPE = "`stg-ray guide your_data` shows how to make numbers of texts and dates"


def in_words(kind: pa.DataType) -> str:
    """Return what a column of a type holds, such as text or dates; Arrow's name where it is none of the usual ones.

    Example:
        >>> import pyarrow as pa
        >>> in_words(pa.dictionary(pa.int8(), pa.large_string())), in_words(pa.list_(pa.date32()))
        ('categories', 'lists of dates')
    """
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return "categories"
    if is_list(kind):
        return f"lists of {in_words(kind.value_type)}"
    words = {
        "text": (types.is_string, types.is_large_string, getattr(types, "is_string_view", lambda _: False)),
        "dates": (types.is_date, types.is_timestamp),
        "times": (types.is_time, types.is_duration, types.is_interval),
        "whole numbers": (types.is_integer,),
        "numbers with fractions": (types.is_floating, types.is_decimal),
        "true and false": (types.is_boolean,),
        "bytes": (types.is_binary, types.is_large_binary, types.is_fixed_size_binary),
        "nothing": (types.is_null,),
        "records": (types.is_struct, types.is_map),
    }
    return next((word for word, tests in words.items() if any(test(kind) for test in tests)), str(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a column holds lists, all of one length or not."""
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def of_each_kind(kinds: Mapping[str, str]) -> list[str]:
    """Return, for each kind of columns, the first few of them and how many others there are.

    Args:
        kinds: what each column holds.

    Example:
        >>> of_each_kind({"day": "dates", "city": "text", "plan": "text"})
        ["'day' holds dates", "'city' and 'plan' hold text"]
    """
    names: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        names.setdefault(kind, []).append(name)
    return [
        f"{listed(list(map(repr, own)), SHOWN)} {'hold' if len(own) > 1 else 'holds'} {kind}"
        for kind, own in names.items()
    ]
