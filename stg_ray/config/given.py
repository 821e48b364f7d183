"""Trunks that are given in Python themselves, as `model.trunk`: a setting holds their digest, a run their pickle.

These are modules, and classes and functions that no file can name: those of a notebook, of a script, or of a function.

Ray's cloudpickle pickles classes of a notebook or script by value, since workers cannot import them; other classes are
named, and have to be there where the module is loaded.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from typing import Any

from stg_ray.errors import one_line

PREFIX = "(given):"
"""Beginning of the settings that stand for a module; no name of a Python module begins like this."""

PLAIN = (int, float, str, bool, tuple, type(None))

_KEPT: dict[str, bytes] = {}
"""The pickled trunks that this process was given, by the setting that stands for them."""


def is_module(value: object) -> bool:
    """Whether a value is an instance of `torch.nn.Module`; torch is not imported for it."""
    return any(
        f"{kind.__module__}.{kind.__qualname__}" == "torch.nn.modules.module.Module" for kind in type(value).__mro__
    )


def keep(trunk: Any, key: str) -> str:
    """Keep a trunk until a run directory has it.

    Args:
        trunk: a `torch.nn.Module`, or a class or function that makes one.
        key: the setting that it was given for, for messages.

    Returns:
        The value of the setting: equal for modules of equal layers, attributes, weights and code; for classes and
        functions of equal code, and equal numbers and texts that it refers to.

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
    name = PREFIX + (_digest(trunk) if is_module(trunk) else _digest_of_code(trunk))
    _KEPT[name] = pickled
    return name


def kept(name: str) -> bytes | None:
    """Return the pickle of a trunk that this process was given."""
    return _KEPT.get(name)


def _digest(module: Any) -> str:
    """Hash what a module is made of; pickles of equal modules differ."""
    import torch

    digest = hashlib.sha256()
    kinds = {}
    for name, part in module.named_modules():
        kind = type(part)
        kinds[f"{kind.__module__}.{kind.__qualname__}"] = kind
        own = {k: v for k, v in vars(part).items() if isinstance(v, PLAIN) and k[0] != "_" and k != "training"}
        digest.update(f"{name} {kind.__qualname__} {part.extra_repr()} {sorted(own.items())}\n".encode())
    for kind in (kinds[name] for name in sorted(kinds) if not name.startswith("torch.")):
        try:
            digest.update(inspect.getsource(kind).encode())
        except (OSError, TypeError):  # of a console
            digest.update(kind.forward.__code__.co_code)
    for name, value in module.state_dict().items():
        if isinstance(value, torch.Tensor):
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def _digest_of_code(value: Any) -> str:
    """Hash the source of a class or function, and the plain values that it refers to."""
    functions = [value] if inspect.isfunction(value) else [f for f in vars(value).values() if inspect.isfunction(f)]
    digest = hashlib.sha256(f"{value.__qualname__}\n".encode())
    try:
        digest.update(inspect.getsource(value).encode())
    except (OSError, TypeError):  # of a console
        for function in functions:
            digest.update(function.__code__.co_code + repr(function.__code__.co_consts).encode())
    for function in functions:
        names = inspect.getclosurevars(function)
        plain = {k: v for k, v in {**names.globals, **names.nonlocals}.items() if isinstance(v, PLAIN)}
        digest.update(f"{function.__qualname__} {function.__defaults__!r} {sorted(plain.items())}\n".encode())
    return digest.hexdigest()[:32]
