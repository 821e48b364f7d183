"""Trunks of the user's, named as `module:function`: a function, a class, a module itself, a torchvision constructor."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

from torch import nn

from stg_ray.artifacts.storage import Storage
from stg_ray.config.given import PREFIX, kept
from stg_ray.errors import InputError, one_line
from stg_ray.imports import raised, resolve
from stg_ray.modules import search_here


def users_trunk(name: str, input_shape: tuple[int, ...], file: str | None = None) -> nn.Module:
    """Build the trunk that `module:function` names, or that was given in Python.

    A function or class is called with the shape of one input, or, if it needs no argument and takes none, without; a
    module that is there already is copied. A constructor of torchvision.models is called without arguments, and its
    last linear layer, the classifier of ImageNet, left out.

    Args:
        name: the setting `model.trunk`.
        input_shape: shape of one input.
        file: path or URI of what was given in Python.

    Raises:
        InputError: it cannot be imported, it raises, or it gives no module; the file of a given one is gone, or needs a
            module that is not here.
    """
    is_given = name.startswith(PREFIX)
    found: Any = _given(name, file) if is_given else resolve(name, "model.trunk")
    if is_given and isinstance(found, nn.Module):
        return found
    title = getattr(found, "__qualname__", "") if is_given else name
    try:
        trunk = _built(found, input_shape)
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the fault is in the user's own code; sys.exit too
        raise InputError(
            f"model.trunk={title} was called with the shape of one input, {input_shape}, and {raised(error)}"
        ) from error
    if not isinstance(trunk, nn.Module):
        raise InputError(f"model.trunk={title} gave {type(trunk).__name__}: expected a torch.nn.Module")
    return trunk


def _given(name: str, file: str | None) -> object:
    """Load what was given in Python as a trunk: a module, or what makes one."""
    folder, _, own = (file or "").rpartition("/")
    try:
        pickled = Storage(folder or "/").read_bytes(own) if file is not None else kept(name)
    except OSError as error:
        raise InputError(
            f"model.trunk: the module that was given cannot be read from {file}: {one_line(error)}"
        ) from error
    if pickled is None:
        raise InputError("model.trunk stands for a module that was given in another program: give it once more")
    search_here()
    try:
        given: object = pickle.loads(pickled)
    except Exception as error:  # a class that is not here any more, or is another one
        raise InputError(
            f"model.trunk: the module that was given cannot be loaded from {file} ({one_line(error)}): its classes "
            "must be importable as they were"
        ) from error
    return given


def _built(found: Callable[..., Any], input_shape: tuple[int, ...]) -> object:
    if isinstance(found, nn.Module):
        return copy.deepcopy(found)
    if getattr(found, "__module__", "").startswith("torchvision.models"):
        return without_classifier(found())
    if getattr(found, "__init__", None) is nn.Module.__init__:
        return found()  # which seems to take anything
    return found(input_shape) if _takes(found, input_shape) or not _takes(found) else found()


def _takes(function: Callable[..., Any], *arguments: object) -> bool:
    """Return whether a function can be called with these arguments; True where its signature is not known."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def without_classifier(network: nn.Module) -> nn.Module:
    """Replace the last linear layer of a network by nothing, in place, and return the network."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if linear:
        parent, _, child = linear[-1].rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
    return network
