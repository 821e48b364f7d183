"""Numbers of parameters by arithmetic, before anything is built, and the memory that they would take."""

from __future__ import annotations

import math
import os
import resource
from typing import TYPE_CHECKING

from stg_ray.config.recipes import as_number
from stg_ray.errors import InputError

if TYPE_CHECKING:
    from stg_ray.config import ModelConfig

BYTES_PER_PARAMETER = 16
"""Of a network in training: weights, gradients and the two moments of Adam, in float32."""

MOST_LAYERS = 100
"""Of an MLP: one of more layers, without connections that skip some, does not train, and takes minutes to build."""

CNN_FEATURES = 128 * 16
"""Largest number of features that the small CNN's last layer sees."""


def check_trunk(name: str, config: ModelConfig, input_shape: tuple[int, ...]) -> None:
    """Refuse a trunk that is deeper than anything that trains, or larger than the memory of this machine.

    Args:
        name: of the trunk; those that have no width are not looked at.
        config: its width and depth.
        input_shape: shape of one input.

    Raises:
        InputError: it is too deep, or too large.
    """
    n_layers = as_number(config.depth)
    if name == "mlp" and n_layers > MOST_LAYERS:
        raise InputError(f"model.depth={n_layers}: expected at most {MOST_LAYERS} layers")
    if name not in ("linear", "mlp", "cnn"):
        return
    width = as_number(config.width)
    parameters = (CNN_FEATURES if name == "cnn" else math.prod(input_shape)) * width
    if name == "mlp":
        parameters += (n_layers - 1) * width**2
    depth = f" and model.depth={n_layers}" if name == "mlp" else ""
    check_parameters(parameters, f"model.width={width}{depth} on inputs of shape {input_shape}")


def check_parameters(parameters: int, what: str) -> None:
    """Refuse parameters whose training takes more memory than there is.

    Args:
        parameters: their number.
        what: has them, for the message.

    Raises:
        InputError: they are too many.
    """
    needed, there = parameters * BYTES_PER_PARAMETER, memory_bytes()
    if needed > there:
        raise InputError(
            f"{what}: {parameters:.1e} parameters take {needed / 2**30:,.0f} GiB of memory in training, and this "
            f"process can have {there / 2**30:,.0f}: choose a smaller trunk"
        )


def memory_bytes() -> int:
    """Return the memory of this machine, or what this process may have of it (ulimit -v)."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return there if limit == resource.RLIM_INFINITY else min(there, limit)
