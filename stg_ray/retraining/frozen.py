"""Features of frozen lower layers: computed once for each part, so that a training above them trains nothing else.

The features are laid out as parts of their own, with the samples and labels of the run's, in a folder that is known by
all that decides them. What is trained on them is the profiled network without its lower layers, which gives the same
numbers as the whole network with these layers frozen, in the mode of evaluation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from stg_ray.artifacts.storage import Storage, tensor_column
from stg_ray.config import Config
from stg_ray.data.parts import PartIndex, part_name, read_index, read_part
from stg_ray.data.rows import MappedInputs
from stg_ray.models import TaskNetwork, build_network, load_weights, split_network
from stg_ray.tasks.sparse_rows import InputRows

ROWS = 256
"""Rows whose features are computed together."""

SPLITS = ("train", "val")
"""The splits that are trained and judged on; features of test rows have no use."""


def features_folder(run: Storage, start: str, share: float) -> str:
    """Return the name of the folder of the features in a run.

    Args:
        start: digest of the profiled network.
        share: of its layers that are frozen.
    """
    known = run.read_bytes("parts/index.json") + f"{start} {share!r}".encode()
    return f".features/{hashlib.sha256(known).hexdigest()[:16]}"


def profiled_network(run: Storage, config: Config, names: Sequence[str]) -> TaskNetwork:
    """Return the profiled network, with the heads of some tasks."""
    index = read_index(run.sub("parts"))
    tasks = [index.tasks[index.names.index(name)] for name in names]
    network = build_network(config.model, index, tasks, config.seed)
    network.load_from(load_weights(run, "profile/network.pt"), index.tasks)
    return network


def parts_of_features(index: PartIndex) -> list[tuple[str, int]]:
    """Return the parts that have features, by split and number."""
    return [(split, number) for split in SPLITS for number in range(index.n_parts(split))]


def write_index(run: Storage, folder: str) -> None:
    """Write the index of features that are all there: what networks take as it is."""
    index = read_index(run.sub("parts"))
    shape = tuple(read_part(run.sub(folder), *parts_of_features(index)[0]).inputs.shape[1:])
    of_features = replace(
        index,
        input_shape=shape,
        input_mean=(0.0,) * shape[0],
        input_std=(1.0,) * shape[0],
        whole=None,
        normalize="none",
        common_std=None,
    )
    run.write_json(f"{folder}/index.json", of_features.to_dict())


def write_part(
    run: Storage, config: Config, folder: str, share: float, split: str, number: int, device: torch.device | str
) -> None:
    """Compute the features of a part, and write them with its samples and labels."""
    part, names = read_part(run.sub("parts"), split, number), read_index(run.sub("parts")).names
    lower, _above = split_network(profiled_network(run, config, names), share)
    columns = {
        "sample": pa.array(part.samples),
        "inputs": tensor_column(features_of(lower.to(device), part.inputs)),
        "labels": tensor_column(np.ascontiguousarray(part.labels)),
    }
    run.sub(folder).write_arrow(f"{part_name(split, number)}.arrow", pa.record_batch(columns))


@torch.inference_mode()
def features_of(lower: nn.Module, inputs: InputRows) -> np.ndarray:
    """Return the features (n, ...) of rows (n, ...), in float32, by layers in the mode of evaluation."""
    lower.eval()
    device = next(lower.parameters()).device
    blocks = MappedInputs([inputs], np.arange(len(inputs))).split(ROWS)
    return np.concatenate([lower(block.to(device)).float().cpu().numpy() for block in blocks])
