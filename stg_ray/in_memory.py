"""Affinities of a model and a task set in memory: without a run directory, without Ray."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from stg_ray.affinities.auto_samples import enough_parts, grows_by_parts
from stg_ray.affinities.base import Partial
from stg_ray.affinities.estimators import OF_DATA_MAPS, check_methods, estimator_of
from stg_ray.affinities.gradients.start import ROWS_LOOKED_AT, copy_one_head, untrained_heads
from stg_ray.affinities.source import CPU, Source
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.data.parts import Part, PartIndex, index_of, part_rows_of
from stg_ray.data_maps.state import DataMapState
from stg_ray.errors import InputError
from stg_ray.grouping import group_tasks
from stg_ray.models import TaskNetwork
from stg_ray.tasks import Task, TaskSet

Preprocess = Callable[[torch.Tensor], torch.Tensor]


def affinity(
    model: nn.Module,
    task_set: TaskSet,
    *,
    method: str = "landscape",
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | torch.device = CPU,
    profile: dict[str, Any] | None = None,
    **settings: Any,
) -> TaskMatrix:
    """How alike the tasks of a task set are at a trained model.

    Args:
        model: a TaskNetwork, or any module that ends in an nn.Linear with one output for each binary or regression
            task and one for each class of a multi-class task, in the order of the tasks; in evaluation mode.
        task_set: of which the training rows are looked at.
        method: landscape, logit_correlation, label_correlation, tag (which trains a copy of the model), or random.
        preprocess: what the model needs its raw inputs to be made first; nothing by default.
        seed: of the choice of rows and coordinates, and of tag's training.
        device: where it is computed.
        profile: how tag trains, by the keys of the `profile` section: epochs, lr, batch_size, ...
        settings: those of the `affinity` section: statistic, samples, sampling, layers, normalize, coordinates,
            precision, tag_every. `start: initial` gives all tasks the model's first head.

    Returns:
        The K x K matrix, with standard errors.

    Warns:
        UserWarning: the heads look as if they were not trained, so that the landscape is noise.

    Raises:
        InputError: an unknown method or setting, a model that does not end as it must, is in training mode or mixes
            samples, or tasks that the method has no meaning for.
    """
    given = {"methods": [method], **settings}
    config = load_config({"data": {"npz": "in memory"}, "seed": seed, "affinity": given, "profile": profile or {}})
    if method in OF_DATA_MAPS or config.affinity.sampling == "variability":
        raise InputError("data maps are recorded while a network is trained: run the profile stage, or sr.run")
    if config.affinity.starts_from_checkpoint:
        raise InputError(f"affinity.start is {config.affinity.start!r}: load the checkpoint into the model instead")
    index = index_of(task_set)
    check_methods(config.affinity, index)
    network = task_network(model, task_set.tasks, torch.tensor(task_set.inputs[:1]), preprocess)
    source = ArraySource(task_set, index, network, config, torch.device(device))
    estimator = estimator_of(method, config.affinity, index)
    if method == "landscape" and (warning := untrained_heads(source.network(), *source.examples(ROWS_LOOKED_AT))):
        warnings.warn(warning, stacklevel=2)
    own = estimator(source)
    partials: list[Partial] = []

    def first(n: int) -> Iterator[Partial]:
        partials.extend(own.partial(number) for number in range(len(partials), n))
        return iter(partials[:n])

    n_units = estimator.n_units(source)
    if grows_by_parts(config.affinity, estimator):
        n_units = enough_parts(n_units, lambda n: estimator.combine(first(n), index.names)[0], config, group_tasks)
    matrix, error = estimator.combine(first(n_units), index.names)
    return TaskMatrix(matrix.tasks, matrix.values, matrix.kind, {"method": method, **given}, matrix.samples, error)


def task_network(
    model: nn.Module, tasks: tuple[Task, ...], example: torch.Tensor, preprocess: Preprocess | None
) -> TaskNetwork:
    """A model as a trunk and heads: its last layer is cut off, in a copy.

    Raises:
        InputError: it does not end in a linear layer with the outputs of these tasks.
    """
    if isinstance(model, TaskNetwork):
        return model
    n_outputs = sum(task.n_outputs for task in tasks)
    first = _Preprocessed(preprocess)
    ends: list[tuple[str, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda *seen, name=name: ends.append((name, seen[2])))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            output = model(first(example))
    finally:
        for handle in handles:
            handle.remove()
    name = next((name for name, own in reversed(ends) if own is output), None)
    head = None if name is None else model.get_submodule(name)
    if not isinstance(head, nn.Linear) or head.out_features != n_outputs:
        shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise InputError(
            f"the model gives {shape} for one sample: expected it to end in an nn.Linear with {n_outputs} outputs for "
            f"these {len(tasks)} tasks, one for each binary or regression task and one for each class of the others"
        )
    trunk = copy.deepcopy(model)
    if name:
        trunk.set_submodule(name, nn.Identity())
    else:
        trunk = nn.Identity()
    network = TaskNetwork(first, trunk, head.in_features, tasks)
    network.heads.weight.data.copy_(head.weight.detach())
    network.heads.bias.data.zero_()
    if head.bias is not None:
        network.heads.bias.data.copy_(head.bias.detach())
    return network.train(model.training)


class _Preprocessed(nn.Module):
    def __init__(self, preprocess: Preprocess | None) -> None:
        super().__init__()
        self.preprocess = preprocess

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if self.preprocess is None else self.preprocess(inputs)


@dataclass
class ArraySource(Source):
    """A task set's training rows as parts, and a model ."""

    task_set: TaskSet
    index: PartIndex
    model: TaskNetwork
    config: Config
    device: torch.device
    rows: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = part_rows_of(self.task_set, self.index, "train", self.seed)

    def part(self, number: int) -> Part:
        rows = self.rows[number]
        return Part(rows, self.task_set.inputs[rows], self.task_set.labels[rows])

    def states(self, number: int) -> list[DataMapState]:
        raise InputError("there is no data map without a profile")

    def network(self) -> TaskNetwork:
        network = self.untrained()
        if self.settings.start == "initial":
            copy_one_head(network)
        return network

    def untrained(self) -> TaskNetwork:
        return copy.deepcopy(self.model).to(self.device)
