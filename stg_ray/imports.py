"""Imports at run time: functions that a configuration names as `module:function`, and torchvision with any torch."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from stg_ray.errors import InputError


def resolve(name: str) -> Callable[..., Any]:
    """Import the function that `module:function` names; the module may be in the current directory.

    Raises:
        InputError: the name is not of this form, or there is no such module or function.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise InputError(f"{name!r}: expected module:function")
    _search_here()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{name!r}: no module named {error.name!r} (looked in the current directory and the installed packages)"
        ) from error
    try:
        function: Callable[..., Any] = getattr(module, attribute)
    except AttributeError as error:
        raise InputError(f"{name!r}: module {module_name!r} has no {attribute!r}") from error
    return function


def module_file(name: str | None) -> Path | None:
    """Return the file of the module in `module:function` without importing it; None where there is no such file."""
    if name is None or ":" not in name:
        return None
    _search_here()
    spec = importlib.util.find_spec(name.partition(":")[0])
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def _search_here() -> None:
    """Add the current directory to Python's search path, as the directory of a script is."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


@cache
def torchvision() -> ModuleType:
    """Import torchvision, whatever build of torch is installed.

    torchvision's wheels contain operators (non-maximum suppression and the like) that are built against one build of
    torch. With another build, such as a torch for CPUs only, they cannot be loaded, and the import fails because it
    registers shapes for two of them. torchvision's models, transforms and data sets use neither of the two, so
    declaring them is enough.

    Raises:
        InputError: torchvision is not installed.
    """
    import torch

    ops: Any = torch.ops  # untyped in torch
    new_library: Any = torch.library.Library
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise InputError("torchvision is not installed: pip install torchvision, in the version that fits torch")
    operators = next(Path(spec.origin).parent.glob("_C*"), None)
    try:
        ops.load_library(str(operators))
    except OSError:
        library = new_library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
    return importlib.import_module("torchvision")


_DECLARED: list[Any] = []
"""The libraries of declared operators: a declaration lasts as long as its library object."""
