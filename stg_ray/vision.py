"""torchvision, whatever torch it stands beside.

torchvision's wheels bring operators (non-maximum suppression and the like) that are built against one build of torch.
Beside another, such as a torch for CPUs only, they cannot be loaded, and importing torchvision fails because it
registers shapes for two of them. Its models, transforms and data sets use none: declared, they are not missed.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

from stg_ray.errors import InputError

_DECLARED: list[torch.library.Library] = []  # a declaration lasts as long as its library object


@cache
def torchvision() -> ModuleType:
    """The torchvision package.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise InputError("torchvision is not installed: pip install torchvision, in the version that fits torch")
    operators = next(Path(spec.origin).parent.glob("_C*"), None)
    try:
        torch.ops.load_library(str(operators))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(library)
    return importlib.import_module("torchvision")
