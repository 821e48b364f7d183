"""Trained networks as torch.export programs, which run without stg_ray."""

from __future__ import annotations

import copy
import io
import os
import re
from collections.abc import Sequence
from typing import Any

import torch

from stg_ray.artifacts.groups import Groups, Serving
from stg_ray.artifacts.storage import Storage
from stg_ray.data.parts import PartIndex
from stg_ray.errors import StgRayError, one_line
from stg_ray.models import TaskNetwork, as_safetensors
from stg_ray.training.compute import Compute


def export_networks(
    networks: Sequence[TaskNetwork],
    index: PartIndex,
    groups: Groups,
    serves_by: Serving,
    input_dtype: torch.dtype,
    folder: str | os.PathLike[str],
    *,
    safetensors: bool = False,
) -> None:
    """Write a program for the network of every group, and serving.json, which says how they serve the tasks.

    What an earlier export left in the folder is deleted. serving.json comes last: without it an export is not whole.

    Args:
        networks: of each group, in evaluation mode.
        index: of the task set.
        groups: the plan.
        serves_by: the way in which they serve the tasks.
        input_dtype: of raw inputs.
        folder: a path or a URI.
        safetensors: write the weights of every network, too.

    Raises:
        InputError: the package safetensors is not installed, or the folder cannot be written to.
        StgRayError: torch.export cannot trace a trunk.
    """
    target = Storage(folder)
    target.check_writable()
    weights = [_in_safetensors(network) for network in networks] if safetensors else []
    example = torch.zeros(2, *index.input_shape, dtype=input_dtype)
    for group, network in enumerate(networks):
        program = _program(network, example, group)
        if group == 0:  # nothing is deleted for a trunk that cannot be traced
            _delete_earlier(target)
        target.write_bytes(f"group-{group}.pt2", program)
    for group, data in enumerate(weights):
        target.write_bytes(f"group-{group}.safetensors", data)
    target.write_json("serving.json", _about(networks, index, groups, serves_by, input_dtype))


def _program(network: TaskNetwork, example: torch.Tensor, group: int) -> bytes:
    plain = Compute().place(copy.deepcopy(network))
    for tensor in (*plain.parameters(), *plain.buffers()):
        if tensor.ndim == 4:  # with the channels last, it would pass for a part of another
            tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    try:
        program = torch.export.export(plain, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # torch.export has no base class for its errors, and raises the trunk's too
        raise StgRayError(
            f"the network of group {group} cannot be exported, torch.export does not take its trunk as it is "
            f"written ({type(error).__name__}: {one_line(error)[:300]}): "
            "change the trunk, or serve with sr.load"
        ) from error
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _delete_earlier(target: Storage) -> None:
    """Delete an earlier export, which may have had more networks, or weights of these."""
    target.delete("serving.json")
    for name in target.list():
        if re.fullmatch(r"group-\d+\.(pt2|safetensors)", name):
            target.delete(name)


def _in_safetensors(network: TaskNetwork) -> bytes:
    return as_safetensors(network.state_dict(), [task.name for task in network.layout.tasks])


def _about(
    networks: Sequence[TaskNetwork], index: PartIndex, groups: Groups, serves_by: Serving, input_dtype: torch.dtype
) -> dict[str, Any]:
    """The content of serving.json."""
    ensemble = groups.serving_weights("ensemble")
    return {
        "tasks": [
            {key: value for key, value in task.to_dict().items() if key not in ("group", "class_weights")}
            for task in index.tasks
        ],
        "input": {
            "shape": ["N", *index.input_shape],
            "dtype": str(input_dtype).removeprefix("torch."),
            **({"features": list(index.features)} if index.features is not None else {}),
        },
        "networks": [
            {
                "file": f"group-{group}.pt2",
                "columns": {
                    task.name: [columns.start, columns.stop]
                    for task, columns in zip(network.layout.tasks, network.layout.columns, strict=True)
                },
            }
            for group, network in enumerate(networks)
        ],
        "served_by": serves_by,
        "serving": groups.serving,
        "ensemble": dict(zip(index.names, ensemble.tolist(), strict=True)),
    }
