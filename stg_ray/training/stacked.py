"""Small networks that are trained in step: every layer of all of them is one batched product.

A step of a small network is spent in calls and not in arithmetic, and networks of one initialisation train on the same
batches. So the weights of M networks are stacked, (M, ...) for each parameter, and one step of the stack is a step of
every network: its losses, its share of a clipped gradient and its learning rate are its own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from stg_ray.models import OutputLayout, TaskNetwork
from stg_ray.models.dropout import dropped
from stg_ray.models.outputs import as_labels
from stg_ray.models.trunks import ReluDropout
from stg_ray.seeds import torch_seed
from stg_ray.training.evaluation import taken
from stg_ray.training.optimization import Optimization
from stg_ray.training.trainer import Trainer

LAYERS = (nn.Flatten, nn.Linear, nn.ReLU, ReluDropout)
"""The layers of a trunk that can be stacked."""

MOST_PARAMETERS = 2**17
"""Of a network that is stacked: the arithmetic of larger ones fills a core by itself."""


def can_stack(network: nn.Module, n_outputs: int) -> bool:
    """Whether a network is one of those that are stacked: a linear trunk or an MLP, with few parameters.

    Args:
        n_outputs: that its heads would be filled up to.
    """
    if type(network) is not TaskNetwork or not isinstance(network.trunk, nn.Sequential):
        return False
    trunk = sum(parameter.numel() for parameter in network.trunk.parameters())
    heads = n_outputs * (network.heads.in_features + 1)
    return all(type(layer) in LAYERS for layer in network.trunk) and trunk + heads <= MOST_PARAMETERS


class StackedTrainer:
    """M trainings that take every step together; each ends as it would alone, but for rounding.

    Which others are in the stack changes a network's numbers by rounding at most, and not at all where its matrices lie
    in memory as they would alone (widths that are multiples of 16). The networks' parameters become views of the stack,
    so that they are evaluated as ever; `release` gives one its own again.

    Args:
        trainers: as far as they have come, the same number of epochs; their networks are of equal shape but for their
            heads (`can_stack`); rows, settings and draws are equal, without augmentation and adaptive weights.
        n_outputs: outputs that the heads of each are filled up to, not fewer than any has: where it is the same for all
            stacks, a network's numbers are too.
    """

    def __init__(self, trainers: Sequence[Trainer], n_outputs: int) -> None:
        self.trainers, self.n_outputs = list(trainers), n_outputs
        self.first = first = self.trainers[0]
        device = first.compute.device
        layouts = [trainer.network.layout for trainer in trainers]
        self.layout = OutputLayout([task for layout in layouts for task in layout.tasks]).to(device)
        own = [n_outputs * m + column for m, layout in enumerate(layouts) for column in range(layout.n_outputs)]
        self.columns = torch.tensor(own, device=device)
        self.n_tasks = [len(layout.tasks) for layout in layouts]
        counts = torch.tensor(self.n_tasks, device=device)
        self.network_of_task = torch.arange(len(trainers), device=device).repeat_interleave(counts)
        self.weights = torch.cat([_weights(trainer) for trainer in trainers])
        self.labels = torch.cat([as_labels(trainer.rows.labels) for trainer in trainers], dim=1)
        self.optimization = StackedOptimization(self.trainers, n_outputs)

    def epoch(self, number: int, count: Callable[[int], None] | None = None) -> list[torch.Tensor]:
        """Train for one epoch, as `Trainer.epoch` does each; return the (K_m,) sums of the losses of each network.

        Args:
            number: of the epoch, from 1.
            count: called with the number of samples that all networks together take in a step.
        """
        compute, draws, smoothing = self.first.compute, self.first.batches.draws, self.first.settings.label_smoothing
        torch.manual_seed(torch_seed(draws.seed, number, self.first.batches.ranks.rank))
        self.optimization.begin_epoch()
        totals = torch.zeros(len(self.layout.tasks), dtype=torch.float64, device=compute.device)
        for steps in zip(*(trainer.batches.of_epoch(number) for trainer in self.trainers), strict=True):
            index = torch.from_numpy(steps[0][0])
            outputs = self._forward(compute.batch(taken(self.first.rows.inputs, index)))
            losses = self.layout.losses(outputs, compute.batch(self.labels.index_select(0, index)), smoothing)
            with torch.no_grad():
                totals += losses.sum(dim=0, dtype=torch.float64)
            divisors = torch.tensor([divisor for _, divisor in steps], device=compute.device)
            self.optimization.step((losses * (self.weights / divisors[self.network_of_task])).sum())
            if count is not None:
                count(len(index) * len(self.trainers))
        return list(torch.split(totals, self.n_tasks))

    def hand_over(self) -> None:
        """Give every trainer the state of its optimizer and of its schedule as they are now."""
        self.optimization.hand_over()

    @staticmethod
    def release(network: nn.Module) -> None:
        """Give a network parameters of its own again."""
        for parameter in network.parameters():
            parameter.data = parameter.data.clone()

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Outputs (b, O) of all tasks of all networks on a batch of raw inputs (b, ...)."""
        network, left = self.first.network, iter(self.optimization.parameters)
        features = network.normalize(batch).flatten(1).expand(len(self.trainers), -1, -1)

        def linear() -> torch.Tensor:
            weight, bias = next(left), next(left)
            return torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))

        for layer in cast("nn.Sequential", network.trunk):
            if isinstance(layer, nn.Linear):
                features = linear()
            elif isinstance(layer, nn.ReLU):
                features = features.relu()
                features = _thinned(features, layer.share if isinstance(layer, ReluDropout) else 0.0)
        features = _thinned(features, network.dropout)
        return linear().transpose(0, 1).flatten(1).index_select(1, self.columns)


class StackedOptimization(Optimization):
    """The optimization of M networks in step, whose parameters become views of the stacked ones.

    Every rule of the optimizers is for each number by itself, and moves it by a multiple of the learning rate: where
    that of a network was lowered, its numbers go that share of the way.

    Args:
        trainers: of the networks, as far as they have come.
        n_outputs: outputs that heads are filled up to.
    """

    def __init__(self, trainers: Sequence[Trainer], n_outputs: int) -> None:
        first = trainers[0]
        self.owns = [trainer.optimization for trainer in trainers]
        # A network's heads, weight and bias, are its last parameters.
        self.rows = [len(parameter) for parameter in first.optimization.parameters[:-2]] + [n_outputs] * 2
        of_all = zip(*(own.parameters for own in self.owns), strict=True)
        stacks = [self._stacked(tensors, j) for j, tensors in enumerate(of_all)]
        super().__init__(nn.ParameterList(map(nn.Parameter, stacks)), first.settings, first.total_steps)
        for m, own in enumerate(self.owns):
            for parameter, stack in zip(own.parameters, self.parameters, strict=True):
                parameter.data = stack.data[m][: len(parameter)]
        self._take_over()

    def begin_epoch(self) -> None:
        """Look how far the learning rate of each network was lowered."""
        base = self.schedule.base_lrs[0]
        shares = [own.schedule.base_lrs[0] / base for own in self.owns]
        self.shares = None if all(share == 1 for share in shares) else torch.tensor(shares)

    def hand_over(self) -> None:
        """Give every network's optimization the state that this one has."""
        schedule = self.schedule.state_dict()
        for m, own in enumerate(self.owns):
            for parameter, stack in zip(own.parameters, self.parameters, strict=True):
                own.optimizer.state[parameter] = {
                    key: value[m][: len(parameter)].clone() if _is_like(value, stack) else copy.deepcopy(value)
                    for key, value in self.optimizer.state[stack].items()
                }
            _set_schedule(own, schedule)

    def _take_over(self) -> None:
        """Go on from the state of the networks' own optimizations, which have all taken the same number of steps."""
        for j, stack in enumerate(self.parameters):
            own = [each.optimizer.state[each.parameters[j]] for each in self.owns]
            self.optimizer.state[stack] = {
                key: self._stacked([state[key] for state in own], j)
                if _is_like(value, self.owns[0].parameters[j])
                else copy.deepcopy(value)
                for key, value in own[0].items()
            }
        _set_schedule(self, self.owns[0].schedule.state_dict())
        self.begin_epoch()

    def _stacked(self, tensors: Sequence[torch.Tensor], number: int) -> torch.Tensor:
        """One parameter of all networks, or what the optimizer knows of it, as (M, ...); heads filled with zeros."""
        stack = tensors[0].new_zeros(len(tensors), self.rows[number], *tensors[0].shape[1:])
        for own, tensor in zip(stack, tensors, strict=True):
            own[: len(tensor)] = tensor.detach()
        return stack

    def _follow(self) -> None:
        if self.clip is not None:
            self._clip(self.clip)
        before = None if self.shares is None else [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer.step()
        self.schedule.step()
        if before is not None and self.shares is not None:
            with torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    share = _along(self.shares.to(old), old)
                    parameter.copy_(old.lerp(parameter, share.expand_as(old)))

    def _clip(self, most: float) -> None:
        """Scale the gradient of each network to this norm where it is longer, as `clip_grad_norm_` does."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        factors = (most / (norms + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(_along(factors, gradient))


def _set_schedule(optimization: Optimization, state: dict[str, Any]) -> None:
    """Put a schedule where another is, but for its own learning rate."""
    schedule = optimization.schedule
    schedule.load_state_dict(state | {"base_lrs": schedule.base_lrs})
    factor = schedule.lr_lambdas[0](schedule.last_epoch)
    for group, base in zip(optimization.optimizer.param_groups, schedule.base_lrs, strict=True):
        group["lr"] = base * factor


def _weights(trainer: Trainer) -> torch.Tensor:
    """The factors (K,) of the losses of a network."""
    if trainer.task_weights is not None:
        return trainer.task_weights
    return torch.ones(len(trainer.network.layout.tasks), device=trainer.compute.device)


def _is_like(value: object, parameter: torch.Tensor) -> bool:
    """Whether a value of an optimizer's state is one for each number of the parameter."""
    return isinstance(value, torch.Tensor) and value.shape == parameter.shape


def _along(factors: torch.Tensor, stack: torch.Tensor) -> torch.Tensor:
    """Factors (M,) in a shape that multiplies a stack (M, ...)."""
    return factors.reshape(-1, *[1] * (stack.ndim - 1))


def _thinned(features: torch.Tensor, share: float) -> torch.Tensor:
    """Features (M, b, d) with dropout; networks of one seed drop the same units."""
    return features * dropped(torch.ones_like(features[0]), share) if share else features
