"""Files of networks' weights, which are read without running code from them."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import torch
from torch import nn

from stg_ray.artifacts.storage import Storage
from stg_ray.errors import InputError, NotHere, one_line


def save_network(storage: Storage, name: str, network: nn.Module) -> None:
    """Write the weights (and the normalisation) of a network, on the CPU."""
    buffer = io.BytesIO()
    torch.save({key: value.cpu() for key, value in network.state_dict().items()}, buffer)
    storage.write_bytes(name, buffer.getvalue())


def load_weights(storage: Storage, name: str) -> dict[str, torch.Tensor]:
    """Read the tensors that `save_network` wrote, by name, on the CPU."""
    weights: dict[str, torch.Tensor] = torch.load(
        io.BytesIO(storage.read_bytes(name)), weights_only=True, map_location="cpu"
    )
    return weights


def as_safetensors(weights: Mapping[str, torch.Tensor], tasks: Sequence[str]) -> bytes:
    """Return the tensors of a network in the format of safetensors, with the names of its tasks as metadata.

    Raises:
        InputError: the package safetensors is not installed.
    """
    try:
        from safetensors.torch import save
    except ImportError as error:
        raise InputError("safetensors is not installed: pip install 'stg_ray[safetensors]'") from error
    plain = {name: value.cpu().clone().contiguous() for name, value in weights.items()}
    data: bytes = save(plain, metadata={"tasks": json.dumps(list(tasks))})
    return data


def read_checkpoint(source: str, *, key: str = "model.weights") -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint: a mapping of names to tensors, or one under `state_dict`, `model` or `network`,
    as training scripts save it.

    Args:
        source: a path or a URI.
        key: the setting that names the checkpoint, for messages.

    Raises:
        InputError: there is no such file, or it holds something else.
    """
    at = source.rpartition("/")
    try:
        data = Storage(at[0] or ("/" if at[1] else ".")).read_bytes(at[2])
        saved: Any = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except FileNotFoundError as error:
        raise NotHere(f"{key}: {source} cannot be read ({error.strerror or one_line(error)})", source) from error
    except OSError as error:
        raise InputError(f"{key}: {source} cannot be read ({error.strerror or one_line(error)})") from error
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = one_line(error).partition(".")[0]
        raise InputError(f"{key}: {source} is no checkpoint of tensors ({reason})") from error
    for name in ("state_dict", "model", "network"):
        if isinstance(saved, dict) and isinstance(saved.get(name), Mapping):
            saved = saved[name]
    tensors = {str(k): v for k, v in saved.items() if isinstance(v, torch.Tensor)} if isinstance(saved, dict) else {}
    if not tensors:
        raise InputError(f"{key}: {source} ({PurePosixPath(source).suffix or 'no suffix'}) holds no tensors")
    return tensors


def load_trunk(
    trunk: nn.Module, tensors: Mapping[str, torch.Tensor], source: str, *, key: str = "model.weights"
) -> None:
    """Start a trunk from a checkpoint's tensors, named as in the trunk or as in a network or a wrapper that it is in.

    Other tensors of the checkpoint (heads, a classifier) are left alone.

    Args:
        trunk: changed in place.
        tensors: of the checkpoint, by name.
        source: of the checkpoint, for messages.
        key: the setting that names the checkpoint, for messages.

    Raises:
        InputError: a tensor of the trunk is missing, or has another shape.
    """
    wanted = trunk.state_dict()
    prefixes = ("", "trunk.", "module.", "module.trunk.", "network.trunk.")
    prefix = max(prefixes, key=lambda p: sum(p + name in tensors for name in wanted))
    missing = [name for name in wanted if prefix + name not in tensors]
    if missing:
        raise InputError(
            f"{key}: {source} has no {missing[0]!r}, which the trunk needs (and {len(missing) - 1} more): "
            f"it has {', '.join(list(tensors)[:3])}, ..."
        )
    for name, value in wanted.items():
        if tensors[prefix + name].shape != value.shape:
            raise InputError(
                f"{key}: {name!r} has the shape {tuple(tensors[prefix + name].shape)} in {source}, "
                f"the trunk's has {tuple(value.shape)}"
            )
    trunk.load_state_dict({name: tensors[prefix + name] for name in wanted})
