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

Every episode has a copy of the parameters that adapt, and is computed with it by vmap; one graph is differentiated for
all of them. What does not adapt has no copies: in ANIL the rows of all episodes go through one trunk, and once, however
many steps the head takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import torch
from torch.func import vmap

from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes, Loss
from stg_ray.meta.initialisation import Initialisation, Tensors


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
    only_head: ClassVar[bool] = False
    """Whether nothing but the head adapts to a task."""

    def __init__(self, steps: int, *, first_order: bool = False, learn_rates: bool = False) -> None:
        if learn_rates and not self.has_rates:
            raise InputError(f"{type(self).__name__.lower()} has no gradient of the inner rate: leave it as it is")
        self.steps, self.first_order, self.learn_rates = steps, first_order, learn_rates

    def seen(self, start: Initialisation, parameters: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Return what of the inputs (E, n, ...) the part that adapts takes: features (E, n, d), or the inputs."""
        return start.features(parameters, inputs) if self._of_head(start) else inputs

    def adapted(
        self,
        start: Initialisation,
        parameters: Tensors,
        log_rates: Tensors,
        rows: torch.Tensor,
        labels: torch.Tensor,
        loss: Loss,
        steps: int | None = None,
    ) -> Tensors:
        """Return the parameters that adapt, (E, ...), after some steps of gradient descent on each episode's mean loss.

        The steps are differentiable where the parameters require gradients.

        Args:
            start: the network.
            parameters: from which the steps begin.
            log_rates: of the steps.
            rows: (E, s, ...) as they are `seen`.
            labels: (E, s).
            loss: of an episode's.
            steps: their number; those of the training if None.
        """
        names = [name for name in parameters if not self.only_head or name.startswith(start.head)]
        own = {name: parameters[name].expand(len(rows), *parameters[name].shape) for name in names}
        through = not self.first_order and any(value.requires_grad for value in parameters.values())
        for _ in range(self.steps if steps is None else steps):
            at = own if through else {name: value.detach().requires_grad_() for name, value in own.items()}
            with torch.enable_grad():
                losses = self.losses(start, parameters, at, rows if through else rows.detach(), labels, loss)
                slopes = _gradients(losses.sum(), list(at.values()), create_graph=through)
            own = {
                name: value - log_rates[name].exp() * slope
                for (name, value), slope in zip(own.items(), slopes, strict=True)
            }
        return own

    def outputs(self, start: Initialisation, parameters: Tensors, own: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Return outputs (E, n, O) of rows as they are `seen`, with the parameters `own` (E, ...) that have adapted."""
        return start.side_by_side(own, parameters, rows, of_head=self._of_head(start))

    def losses(
        self,
        start: Initialisation,
        parameters: Tensors,
        own: Tensors,
        rows: torch.Tensor,
        labels: torch.Tensor,
        loss: Loss,
    ) -> torch.Tensor:
        """Return the (E,) losses of rows as they are `seen`, with the parameters `own` (E, ...) that have adapted."""
        found: torch.Tensor = vmap(loss)(self.outputs(start, parameters, own, rows), labels)
        return found

    @torch.no_grad()
    def adapt(self, start: Initialisation, inputs: torch.Tensor, labels: torch.Tensor, loss: Loss) -> Tensors:
        """Return all parameters after the steps on the rows of one task, inputs (s, ...) and labels (s,)."""
        rows = self.seen(start, start.parameters, inputs[None])
        own = self.adapted(start, start.parameters, start.log_rates, rows, labels[None], loss)
        return start.parameters | {name: value[0] for name, value in own.items()}

    @abstractmethod
    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Return gradients of the parameters and of the log rates, means over episodes, and the (E,) query losses.

        Rates that are not learned have zeros.
        """

    def _of_head(self, start: Initialisation) -> bool:
        """Whether the head adapts alone, and is computed apart from the rest."""
        return self.only_head and start.above is not None


class MAML(Learner):
    """Gradients of the query losses through the steps of adaptation."""

    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Compute them by one graph for the episodes that are side by side."""
        theta = _leaves(start.parameters)
        rates = _leaves(start.log_rates) if self.learn_rates else start.log_rates
        wanted, found, losses = [*theta.values(), *(rates.values() if self.learn_rates else ())], [], []
        for own in start.chunks(episodes):
            with torch.enable_grad():
                rows = self.seen(start, theta, torch.cat([own.support, own.query], dim=1))
                n = own.support.shape[1]
                moved = self.adapted(start, theta, rates, rows[:, :n], own.support_labels, own.loss)
                of_query = self.losses(start, theta, moved, rows[:, n:], own.query_labels, own.loss)
                found.append(_gradients(of_query.sum() / len(episodes), wanted))
            losses.append(of_query.detach())
        total = [torch.stack(each).sum(dim=0) for each in zip(*found, strict=True)]
        slopes, of_rates = total[: len(theta)], total[len(theta) :] or map(torch.zeros_like, rates.values())
        return dict(zip(theta, slopes, strict=True)), dict(zip(rates, of_rates, strict=True)), torch.cat(losses)


class ANIL(MAML):
    """The same, where only the head adapts."""

    only_head: ClassVar[bool] = True


class Reptile(Learner):
    """The way back from the adapted parameters, after steps on all rows of an episode."""

    has_rates: ClassVar[bool] = False

    @torch.no_grad()
    def gradients(self, start: Initialisation, episodes: Episodes) -> tuple[Tensors, Tensors, torch.Tensor]:
        """Compute theta - theta', and losses on the query rows before they are learned from."""
        theta, rates, losses = start.parameters, start.log_rates, []
        back = {name: torch.zeros_like(value) for name, value in theta.items()}
        for own in start.chunks(episodes):
            before = self.adapted(start, theta, rates, own.support, own.support_labels, own.loss)
            losses.append(self.losses(start, theta, before, own.query, own.query_labels, own.loss))
            rows, labels = torch.cat([own.support, own.query], 1), torch.cat([own.support_labels, own.query_labels], 1)
            for name, value in self.adapted(start, theta, rates, rows, labels, own.loss).items():
                back[name] += (theta[name] - value).sum(dim=0) / len(episodes)
        return back, {name: torch.zeros_like(value) for name, value in rates.items()}, torch.cat(losses)


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
    theta, found = start.parameters, {n: list[torch.Tensor]() for n in steps}
    for own in start.chunks(episodes):
        support, query = (learner.seen(start, theta, rows) for rows in (own.support, own.query))
        for n, outputs in found.items():
            moved = learner.adapted(start, theta, start.log_rates, support, own.support_labels, own.loss, n)
            outputs.append(learner.outputs(start, theta, moved, query))
    return {n: torch.cat(outputs) for n, outputs in found.items()}


def _leaves(tensors: Tensors) -> Tensors:
    """The tensors, to be differentiated with respect to."""
    return {name: value.detach().requires_grad_() for name, value in tensors.items()}


def _gradients(
    total: torch.Tensor, wanted: Sequence[torch.Tensor], *, create_graph: bool = False
) -> tuple[torch.Tensor, ...]:
    """The gradient of a number with respect to each tensor, zeros where it does not depend on it."""
    return torch.autograd.grad(total, wanted, create_graph=create_graph, allow_unused=True, materialize_grads=True)
