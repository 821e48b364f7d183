"""Ways to learn an initialisation: MAML, ANIL and Reptile, exact, with the episodes of a step side by side.

    maml     theta' = theta - alpha grad L_support(theta), some steps; the gradient of L_query(theta') with respect to
             theta, through the steps, or with the steps' gradients taken for constants (first order). Finn et al., ICML
             2017, Model-agnostic meta-learning, equations 1 to 3 and section 5.2.
    anil     the same, but only the head adapts. Raghu et al., ICLR 2020, Rapid learning or feature reuse?, section 4.
    reptile  theta <- theta + epsilon (theta' - theta), with steps on all rows of an episode. Nichol et al. 2018,
             arXiv 1803.02999, algorithm 2.

Each gives a gradient of the initialisation, so that any optimizer takes the steps: Reptile's is theta - theta', and SGD
with the rate epsilon makes its step of that. The inner rate is one number for each parameter tensor; where it is
learned, it has a gradient like a parameter (Antoniou et al., ICLR 2019, How to train your MAML: rates by layer).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.func import functional_call, grad, grad_and_value, vmap

from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes, Loss

Tensors = dict[str, torch.Tensor]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

NUMBERS_AT_ONCE = 2**26
"""Parameters of all episodes that are computed side by side."""


@dataclass
class Initialisation:
    """A network's parameters from which it adapts, and the rates of its steps.

    Attributes:
        network: computes outputs (n, O) from inputs (n, ...); without batch statistics, which are of no single task.
        head: names of parameters begin with this in the head, which is all that adapts in ANIL.
        parameters: theta, by name.
        log_rates: of each parameter, the logarithm of its inner rate.
    """

    network: nn.Module
    rate: float
    head: str = "heads."
    parameters: Tensors = field(init=False)
    log_rates: Tensors = field(init=False)

    def __post_init__(self) -> None:
        batch_norm = next((name for name, own in self.network.named_modules() if hasattr(own, "running_mean")), None)
        if batch_norm is not None:
            raise InputError(
                f"the trunk's {batch_norm} keeps statistics of batches, and an episode is no batch of the training: "
                "take GroupNorm or LayerNorm instead"
            )
        self.parameters = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        self.log_rates = {
            name: torch.tensor(self.rate, dtype=value.dtype, device=value.device).log()
            for name, value in self.parameters.items()
        }

    def chunks(self, episodes: Episodes) -> Iterator[Episodes]:
        """Yield the episodes that are computed side by side, but one by one where convolutions run on a CPU.

        Side by side each episode has parameters of its own: so many episodes as memory is for (`NUMBERS_AT_ONCE`).

        Side by side a convolution has the weights of each episode, which is a grouped convolution: on CPUs it takes
        two to seven times as long as one after the other (measured with a small CNN on one core).
        """
        convolves = any(isinstance(module, CONVOLUTIONS) for module in self.network.modules())
        on_cpu = next(iter(self.parameters.values())).device.type == "cpu"
        fit = NUMBERS_AT_ONCE // sum(value.numel() for value in self.parameters.values())
        size = 1 if convolves and on_cpu else max(1, fit)
        return (episodes[slice(begin, begin + size)] for begin in range(0, len(episodes), size))

    def outputs(self, parameters: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (n, O) of inputs (n, ...) by the network with these parameters."""
        found: torch.Tensor = functional_call(self.network, parameters, (inputs,))
        return found


class Learner(ABC):
    """A way to learn an initialisation.

    Args:
        steps: of adaptation to an episode.
        first_order: whether the steps' gradients are taken for constants.
        learn_rates: whether the inner rates are learned.

    Raises:
        InputError: rates are to be learned by a learner that has no gradient of them.
    """

    has_rates: ClassVar[bool] = True

    def __init__(self, steps: int, *, first_order: bool = False, learn_rates: bool = False) -> None:
        if learn_rates and not self.has_rates:
            raise InputError(f"{type(self).__name__.lower()} has no gradient of the inner rate: leave it as it is")
        self.steps, self.first_order, self.learn_rates = steps, first_order, learn_rates

    def adapts(self, name: str, start: Initialisation) -> bool:
        """Whether a parameter, by its name, adapts to a task."""
        del name, start
        return True

    def adapted(
        self,
        start: Initialisation,
        parameters: Tensors,
        log_rates: Tensors,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        loss: Loss,
        steps: int | None = None,
    ) -> Tensors:
        """Return the parameters after some steps of gradient descent on the mean loss of an episode's rows.

        Args:
            start: the network.
            parameters: from which the steps begin.
            log_rates: of the steps.
            inputs: (s, ...).
            labels: (s,).
            loss: of them.
            steps: their number; those of the training if None.
        """
        own = {name: value for name, value in parameters.items() if self.adapts(name, start)}
        fixed = {name: value for name, value in parameters.items() if name not in own}

        def of_support(moving: Tensors) -> torch.Tensor:
            return loss(start.outputs({**fixed, **moving}, inputs), labels)

        for _ in range(self.steps if steps is None else steps):
            slopes = grad(of_support)(own)
            if self.first_order:
                slopes = {name: slope.detach() for name, slope in slopes.items()}
            own = {name: value - log_rates[name].exp() * slopes[name] for name, value in own.items()}
        return {**fixed, **own}

    @abstractmethod
    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Return gradients of the parameters and of the log rates, means over episodes, and the (E,) query losses."""


class MAML(Learner):
    """Gradients of the query losses through the steps of adaptation."""

    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Compute them for all episodes at once, by vmap."""
        loss = episodes.loss

        def of_query(parameters: Tensors, log_rates: Tensors, *rows: torch.Tensor) -> torch.Tensor:
            adapted = self.adapted(start, parameters, log_rates, rows[0], rows[1], loss)
            return loss(start.outputs(adapted, rows[2]), rows[3])

        def total(parameters: Tensors, log_rates: Tensors, *rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            losses = vmap(of_query, in_dims=(None, None, 0, 0, 0, 0))(parameters, log_rates, *rows)
            return losses.sum() / len(episodes), losses.detach()

        of_total = grad_and_value(total, argnums=(0, 1), has_aux=True)
        found = [of_total(start.parameters, start.log_rates, *_rows(own)) for own in start.chunks(episodes)]
        slopes = [_sum([gradients[i] for gradients, _ in found]) for i in (0, 1)]
        return slopes[0], slopes[1], torch.cat([losses for _, (_, losses) in found])


class ANIL(MAML):
    """The same, where only the head adapts."""

    def adapts(self, name: str, start: Initialisation) -> bool:
        """Whether it is in the head."""
        return name.startswith(start.head)


class Reptile(Learner):
    """The way back from the adapted parameters, after steps on all rows of an episode."""

    has_rates: ClassVar[bool] = False

    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Compute theta - theta', and losses on the query rows before they are learned from."""
        loss = episodes.loss

        def after(*rows: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
            inputs, labels = torch.cat([rows[0], rows[2]]), torch.cat([rows[1], rows[3]])
            before = self.adapted(start, start.parameters, start.log_rates, rows[0], rows[1], loss)
            adapted = self.adapted(start, start.parameters, start.log_rates, inputs, labels, loss)
            return adapted, loss(start.outputs(before, rows[2]), rows[3])

        found = [vmap(after)(*_rows(own)) for own in start.chunks(episodes)]
        total = _sum([{name: value.sum(dim=0) for name, value in adapted.items()} for adapted, _ in found])
        back = {name: value - total[name] / len(episodes) for name, value in start.parameters.items()}
        of_rates = {name: torch.zeros_like(value) for name, value in start.log_rates.items()}
        return back, of_rates, torch.cat([losses for _, losses in found])


LEARNERS: dict[str, Callable[..., Learner]] = {"maml": MAML, "anil": ANIL, "reptile": Reptile}
"""Learners by name."""


def train(
    start: Initialisation,
    learner: Learner,
    batches: Iterable[Episodes],
    optimizer: Callable[[list[torch.Tensor]], torch.optim.Optimizer],
) -> list[float]:
    """Take a step of an optimizer for each batch of episodes; the initialisation is changed in place.

    Args:
        start: the initialisation.
        learner: gives the gradients.
        batches: of episodes.
        optimizer: made of the tensors that are learned.

    Returns:
        The mean query loss of each batch, before its step.
    """
    names = list(start.parameters)
    learned = [start.parameters[name] for name in names]
    learned += [start.log_rates[name] for name in names] if learner.learn_rates else []
    stepper, losses = optimizer(learned), []
    for episodes in batches:
        slopes, of_rates, by_episode = learner.gradients(start, episodes)
        for tensor, slope in zip(learned, [*map(slopes.get, names), *map(of_rates.get, names)], strict=False):
            tensor.grad = slope
        stepper.step()
        losses.append(float(by_episode.mean()))
    return losses


@torch.no_grad()
def after_steps(
    start: Initialisation, learner: Learner, episodes: Episodes, steps: Iterable[int]
) -> dict[int, torch.Tensor]:
    """Return the (E, q, O) outputs of query rows after each of several numbers of steps on the support rows."""

    def outputs(n: int) -> torch.Tensor:
        def of_one(inputs: torch.Tensor, labels: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
            adapted = learner.adapted(start, start.parameters, start.log_rates, inputs, labels, episodes.loss, n)
            return start.outputs(adapted, query)

        return torch.cat([vmap(of_one)(own.support, own.support_labels, own.query) for own in start.chunks(episodes)])

    return {n: outputs(n) for n in steps}


def _sum(each: Sequence[Tensors]) -> Tensors:
    return {name: torch.stack([own[name] for own in each]).sum(dim=0) for name in each[0]}


def _rows(episodes: Episodes) -> tuple[torch.Tensor, ...]:
    return episodes.support, episodes.support_labels, episodes.query, episodes.query_labels
