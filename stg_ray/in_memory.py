"""Affinities of a model and a task set in memory: without a run directory, without Ray."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from stg_ray.affinities.auto_samples import enough_parts, grows_by_parts
from stg_ray.affinities.base import Estimator, Partial
from stg_ray.affinities.checked import combined
from stg_ray.affinities.estimators import check_methods, estimator_of, estimators_of
from stg_ray.affinities.gradients.start import ROWS_LOOKED_AT, copy_one_head, untrained_heads
from stg_ray.affinities.source import CPU, Source
from stg_ray.artifacts.task_matrix import TaskMatrix
from stg_ray.config import Affinity, AffinityConfig, Config
from stg_ray.config.loading import load_config
from stg_ray.config.recipes import with_recipe
from stg_ray.data.parts import Part, PartIndex, index_of, part_rows_of
from stg_ray.data_maps.state import DataMapState
from stg_ray.errors import InputError, one_line
from stg_ray.grouping import group_tasks
from stg_ray.models import TaskNetwork
from stg_ray.tasks import Task, TaskSet
from stg_ray.training.compute import usable_device

Preprocess = Callable[[torch.Tensor], torch.Tensor]
"""Converts raw inputs (n, ...) to those of a model."""


def affinity(  # noqa: PLR0913 - the settings of a section, spelled out so that editors show them
    model: nn.Module,
    task_set: TaskSet,
    *,
    method: Affinity | str | type[Estimator] = "landscape",
    preprocess: Preprocess | None = None,
    seed: int = 0,
    device: str | torch.device = CPU,
    profile: Mapping[str, Any] | None = None,
    samples: int | Literal["auto"] = 2048,
    sampling: Literal["stratified", "random", "variability"] = "stratified",
    statistic: Literal["auto", "aligned", "pooled", "sign"] = "auto",
    start: str = "profiled",
    layers: Literal["last", "all"] | list[str] = "last",
    normalize: bool = False,
    coordinates: int | None = None,
    precision: Literal["float32", "float64"] = "float32",
    tag_every: int = 10,
    grad_tag_dimension: int = 100,
    grad_tag_size: int | Literal["auto"] = "auto",
    grad_tag_meetings: int = 10,
    grad_tag_ridge: float = 1.0,
) -> TaskMatrix:
    """Compute how alike the tasks of a task set are at a trained model, without a run directory and without Ray.

    The settings from `samples` on are those of the `affinity` section, with the same defaults.

    Args:
        model: a TaskNetwork, or any module that ends in an nn.Linear with one output for each binary or regression
            task and one for each class of a multi-class task, in the order of the tasks; in evaluation mode.
        task_set: K tasks; its training rows are looked at.
        method: landscape, logit_adjusted, logit_correlation, label_correlation, gradient_cosine, head_cosine, grad_tag,
            tag, transfer_gain and etap (they train a copy of the model), random, or one of your own: `module:Class`, or
            the class.
        preprocess: converts raw inputs (n, ...) to what the model takes; nothing by default.
        seed: of the choice of rows and coordinates, and of tag's training.
        device: where it is computed.
        profile: how tag trains, by the keys of the `profile` section: epochs, lr, batch_size, ...
        samples: training rows whose gradients are taken; auto: as many as the groups need.
        sampling: which rows: stratified by the classes of all tasks, or random. (variability needs the data maps of a
            run.)
        statistic: aligned compares gradients at the same sample, pooled at different samples, sign their signs over
            all samples; auto: aligned where half of the pairs of tasks or more share samples, else sign.
        start: profiled: at the model as it is; initial: all tasks get the model's first head.
        layers: parameters whose gradients are compared: those of the last layer with a weight matrix, all, or names of
            modules and parameters of the model, with wildcards.
        normalize: scale each gradient to unit L1 norm first.
        coordinates: compare so many random coordinates of the layers whose distances have no closed form.
        precision: of the gradients.
        tag_every: steps of the training of tag, transfer_gain and etap between two looks.
        grad_tag_dimension: random directions of the parameters in which grad_tag takes the model to be linear.
        grad_tag_size: tasks of its random subsets; auto: the root of their number, but at least 3.
        grad_tag_meetings: subsets in which two tasks meet, on average.
        grad_tag_ridge: weight of the penalty on its steps, in units of the mean curvature.

    Returns:
        The K x K matrix, with standard errors (NaN where they are not known). Its parameters are the method and the
        settings that are not the defaults.

    Warns:
        UserWarning: the heads look as if they were not trained, so that the landscape is noise.

    Raises:
        InputError: no model or task set, an unknown method or value of a setting, a model that does not end as it must,
            is in training mode or mixes samples, or tasks that the method has no meaning for.

    Example:
        >>> import numpy as np
        >>> import stg_ray as sr
        >>> from torch import nn
        >>> inputs = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
        >>> labels = (inputs[:, [0, 0, 1]] > 0).astype(np.int8)  # the first two tasks are the same
        >>> task_set = sr.TaskSet.from_arrays(inputs, labels, names=["a", "b", "c"])
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        >>> matrix = sr.affinity(model, task_set, method="label_correlation")
        >>> print((matrix.values > 0.9).astype(int))
        [[1 1 0]
         [1 1 0]
         [0 0 1]]
    """
    arguments = locals()
    for name, kind in {"model": nn.Module, "task_set": TaskSet}.items():
        if not isinstance(arguments[name], kind):
            raise InputError(
                f"{name} is of the type {type(arguments[name]).__name__}: expected a {kind.__name__}, as in "
                "sr.affinity(model, task_set)"
            )
    defaults = AffinityConfig()
    settings = AffinityConfig.model_fields.keys() & arguments
    given = {key: arguments[key] for key in sorted(settings) if arguments[key] != getattr(defaults, key)}
    section = {"methods": [method], **given}
    values = {"data": {"npz": "in memory"}, "seed": seed, "affinity": section, "profile": profile or {}}
    config = with_recipe(load_config(values), "given", task_set.inputs.shape[1:])
    source = _source(model, task_set, config, preprocess, usable_device(device))
    (name,) = source.settings.methods
    if "trained_heads" in estimator_of(name, source.settings, source.index).needs:
        warning = untrained_heads(source.network(), *source.examples(ROWS_LOOKED_AT))
        if warning:
            warnings.warn(f"{warning}: train it, or give start=initial", stacklevel=2)
    return replace(_matrix(source, name), parameters={"method": name, "methods": [name], **given})


def _source(
    model: nn.Module, task_set: TaskSet, config: Config, preprocess: Preprocess | None, device: torch.device
) -> ArraySource:
    """Check what was asked for, and return the source of the estimator.

    Raises:
        InputError: as `affinity` does.
    """
    settings = config.affinity
    if settings.starts_from_checkpoint:
        raise InputError(f"affinity.start is {settings.start!r}: load the checkpoint into the model instead")
    index = index_of(task_set)
    needs = frozenset().union(*(estimator.needs for estimator in estimators_of(settings, index).values()))
    if "data_maps" in needs or settings.sampling == "variability":
        raise InputError("data maps are recorded while a network is trained: run the profile stage, or sr.run")
    check_methods(settings, index)
    network = task_network(model, task_set.tasks, torch.tensor(task_set.inputs[:1]), preprocess)
    return ArraySource(task_set, index, network, config, device)


def _matrix(source: ArraySource, method: str) -> TaskMatrix:
    """Compute an affinity one unit after the other."""
    config, tasks = source.config, source.index.tasks
    estimator = estimator_of(method, config.affinity, source.index)
    instance = estimator(source)
    partials: list[Partial] = []

    def matrix_of(n_units: int) -> TaskMatrix:
        partials.extend(instance.partial(number) for number in range(len(partials), n_units))
        return combined(estimator, method, partials[:n_units], tasks)

    n_units = estimator.n_units(source)
    if grows_by_parts(config.affinity, estimator):
        n_units = enough_parts(n_units, matrix_of, config, group_tasks)
    return matrix_of(n_units)


def task_network(
    model: nn.Module, tasks: tuple[Task, ...], example: torch.Tensor, preprocess: Preprocess | None
) -> TaskNetwork:
    """Return a model as a trunk and heads: its last layer is cut off, in a copy.

    Args:
        model: ends in an nn.Linear with the outputs of the tasks; a TaskNetwork is returned as it is.
        tasks: the K tasks.
        example: (1, ...) one raw input, on which the model is run.
        preprocess: converts raw inputs to what the model takes.

    Raises:
        InputError: it does not take the inputs, or does not end in a linear layer with the outputs of these tasks.
    """
    if isinstance(model, TaskNetwork):
        return model
    n_outputs = sum(task.n_outputs for task in tasks)
    first = _Preprocessed(preprocess)
    try:
        with torch.no_grad():
            name, output = _last_linear(model, first(example))
    except Exception as error:  # whatever the user's model raises
        raise InputError(
            f"the model does not take inputs of shape {tuple(example.shape[1:])} in {example.dtype} "
            f"({one_line(error)}): give a preprocess that converts them, such as lambda x: x.long() for ids"
        ) from error
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


def _last_linear(model: nn.Module, inputs: torch.Tensor) -> tuple[str | None, object]:
    """Run a model, and return the name of the linear layer whose output is the model's, if there is one, and that."""
    outputs: list[tuple[str, object]] = []

    def noting(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda _module, _inputs, output: outputs.append((name, output))

    handles = [
        module.register_forward_hook(noting(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        output = model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return next((name for name, of_linear in reversed(outputs) if of_linear is output), None), output


class _Preprocessed(nn.Module):
    """The first module of a model of the user's: its `preprocess`."""

    def __init__(self, preprocess: Preprocess | None) -> None:
        super().__init__()
        self.preprocess = preprocess

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if self.preprocess is None else self.preprocess(inputs)


@dataclass
class ArraySource(Source):
    """A task set's training rows as parts, and a model.

    Attributes:
        model: of the user's, not changed.
        rows: of the task set, by part, of each split.
    """

    task_set: TaskSet
    index: PartIndex
    model: TaskNetwork
    config: Config
    device: torch.device
    rows: dict[str, list[np.ndarray]] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = {split: part_rows_of(self.task_set, self.index, split, self.seed) for split in ("train", "val")}

    def part(self, number: int, split: str = "train") -> Part:
        """Return a part of a split."""
        rows = self.rows[split][number]
        return Part(rows, self.task_set.inputs[rows], self.task_set.labels[rows])

    def states(self, number: int) -> list[DataMapState]:
        """Refuse: there is no data map without a profile."""
        del number
        raise InputError("there is no data map without a profile")

    def network(self) -> TaskNetwork:
        """Return a copy of the model; at `start: initial` with one head for all tasks."""
        network = self.untrained()
        if self.settings.start == "initial":
            copy_one_head(network)
        return network

    def untrained(self) -> TaskNetwork:
        """Return a copy of the model, from which training starts."""
        return copy.deepcopy(self.model).to(self.device)
