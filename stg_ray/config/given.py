"""Trunks that are given in Python themselves, as `model.trunk`: a setting holds their digest, a run their pickle.

These are modules, and classes and functions that no file can name: those of a notebook, of a script, or of a function.

Ray's cloudpickle pickles classes of a notebook or script by value, since workers cannot import them; other classes are
named, and have to be there where the module is loaded.
"""

from __future__ import annotations

import copy
from typing import Any

from stg_ray.config.given_code import code_digest, is_of_torch
from stg_ray.errors import one_line

PREFIX = "(given):"
"""Beginning of the settings that stand for a module; no name of a Python module begins like this."""

_KEPT: dict[str, bytes] = {}
"""The pickled trunks that this process was given, by the setting that stands for them."""


def is_module(value: object) -> bool:
    """Whether a value is an instance of `torch.nn.Module`; torch is not imported for it."""
    return is_of_torch(value, "torch.nn.modules.module.Module")


def keep(trunk: Any, key: str) -> str:
    """Keep a trunk until a run directory has it.

    Args:
        trunk: a `torch.nn.Module`, or a class or function that makes one.
        key: the setting that it was given for, for messages.

    Returns:
        The value of the setting: equal for modules of equal layers, attributes, weights and code, and for classes and
        functions of equal code, with all of yours that it refers to.

    Raises:
        ValueError: it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps(copy.deepcopy(trunk).cpu() if is_module(trunk) else trunk)
    except Exception as error:  # whatever its attributes raise
        raise ValueError(
            f"{key} is a {type(trunk).__name__} that cannot be pickled for the workers ({one_line(error)}): give a "
            "function of a file that builds it, my_code:function"
        ) from error
    name = PREFIX + code_digest(trunk)
    _KEPT[name] = pickled
    return name


def kept(name: str) -> bytes | None:
    """Return the pickle of a trunk that this process was given."""
    return _KEPT.get(name)
