"""The network of an initialisation: one head for any of its tasks, and, where they are learned, the inner rates."""

from __future__ import annotations

import math

import torch
from torch import nn

from stg_ray.config import Config
from stg_ray.errors import InputError
from stg_ray.meta.initialisation import Initialisation
from stg_ray.meta.learners import LEARNERS, Learner
from stg_ray.models import TaskNetwork, build_network
from stg_ray.models.network import InputFormat
from stg_ray.tasks import Task, TaskKind


class MetaNetwork(nn.Module):
    """A network that adapts to a task before it predicts, in evaluation mode: without dropout.

    Args:
        network: of one task that stands for any of them.
        rate: of the inner steps, where training begins.
        learn_rates: whether there are rates to be learned, one for each of the network's parameters.

    Raises:
        InputError: the network keeps statistics of batches.
    """

    def __init__(self, network: TaskNetwork, rate: float, *, learn_rates: bool) -> None:
        super().__init__()
        self.network = network.eval()
        self.rate = rate
        n_rates = len(list(network.parameters())) if learn_rates else 0
        # Of the rate at the beginning: so weight decay draws them back to that.
        self.log_factors = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(n_rates))
        self._start = Initialisation(network, rate)

    @property
    def start(self) -> Initialisation:
        """The initialisation as it is now; its parameters are the network's own memory."""
        start = self._start
        start.parameters = {name: value.detach() for name, value in self.network.named_parameters()}
        factors = [factor.detach() for factor in self.log_factors] or [torch.zeros(())] * len(start.parameters)
        start.log_rates = {
            name: (factor + math.log(self.rate)).to(value.device)
            for (name, value), factor in zip(start.parameters.items(), factors, strict=True)
        }
        return start

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters, the inner rates among them."""
        return sum(parameter.numel() for parameter in self.parameters())


def meta_network(config: Config, inputs: InputFormat, kind: TaskKind, seed: int) -> MetaNetwork:
    """Build a freshly initialised network whose head fits an episode of tasks of a kind.

    Args:
        config: of the trunk and of the inner steps.
        inputs: shape and normalisation of the inputs.
        kind: of the tasks.
        seed: of the initialisation.

    Raises:
        InputError: the trunk does not take such inputs, or keeps statistics of batches.
    """
    network = build_network(config.model, inputs, [episode_task(config, kind)], seed)
    return MetaNetwork(network, config.meta.rate, learn_rates=config.meta.learn_rates)


def episode_task(config: Config, kind: TaskKind) -> Task:
    """Return the task that stands for any of a kind within an episode; a binary one is one of two classes."""
    if kind == "regression":
        return Task("episode", kind, n_classes=1)
    return Task("episode", "multiclass", n_classes=config.meta.ways if kind == "multiclass" else 2)


def learner_of(config: Config) -> Learner:
    """Return the learner of `retrain.learner`."""
    meta = config.meta
    return LEARNERS[config.retrain.learner](meta.steps, first_order=meta.first_order, learn_rates=meta.learn_rates)


def kind_of(tasks: tuple[Task, ...], learner: str) -> TaskKind:
    """Return the kind of all tasks.

    Raises:
        InputError: they are of several kinds.
    """
    by_kind = {task.kind: task.name for task in tasks}
    if len(by_kind) > 1:
        some = ", ".join(f"{name!r} is {kind}" for kind, name in by_kind.items())
        raise InputError(f"retrain.learner={learner} takes tasks of one kind, and {some}: make a run of each kind")
    return next(iter(by_kind))


def check_tasks(config: Config, tasks: tuple[Task, ...]) -> None:
    """Refuse a learner of initialisations for tasks that it has no episodes of.

    Raises:
        InputError: the tasks are of several kinds, or one has fewer classes than an episode.
    """
    if config.retrain.learner == "joint" or kind_of(tasks, config.retrain.learner) != "multiclass":
        return
    fewest = min(tasks, key=lambda task: task.n_classes)
    if fewest.n_classes < config.meta.ways:
        raise InputError(
            f"meta.ways={config.meta.ways}, but task {fewest.name!r} has {fewest.n_classes} classes: choose at most as "
            "many"
        )
