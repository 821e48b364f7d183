"""The length of a training: a number of epochs, or as many as its score on the validation rows improves (`auto`).

The rule of `auto` needs no length beforehand: the learning rate is constant after its warm-up and is lowered at
plateaus, as ReduceLROnPlateau does, each time from the best network so far; after the last plateau training ends
(early stopping; Prechelt, "Early Stopping - But When?", 1998). The rule looks at the scores alone, so every network of
every plan is trained by the same one, and a training that goes on from a checkpoint ends like an undisturbed one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig
    from stg_ray.training.optimization import Optimization


class InTraining(Protocol):
    """A network and its optimizer."""

    @property
    def network(self) -> nn.Module:
        """The network, which is changed in place."""
        ...

    @property
    def optimization(self) -> Optimization:
        """Its optimizer and learning rate."""
        ...


LENGTH = "profile/length.json"
"""File that says how a profile of `epochs: auto` ended: its epochs, the best of them, and why it ended."""

LOWERED_TO = 0.2
"""Share of the learning rate that is left at a plateau."""
LOWERINGS = 2
"""Plateaus at which the learning rate is lowered; at the next one training ends."""
SHARE_OF_A_PLATEAU = 0.2
"""Least length of a plateau as a share of `min_steps`."""
WITHOUT_VALIDATION = 4
"""Steps of a training without a score on validation rows, in `min_steps`."""


@dataclass
class Course:
    """The course of an unfinished training, carried from epoch to epoch.

    Attributes:
        epoch: the last one that is done.
        best_epoch: the epoch with the best score on the validation rows.
        best_value: its score; -inf before there is one.
        best_weights: the network's state after it, on the CPU.
        lowered: times that the learning rate was lowered.
        lowered_at: epoch at which it was lowered last.
        ended: why training is over: `number` of epochs reached, `plateau`, or `max_epochs`; empty while it goes on.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -math.inf
    best_weights: dict[str, torch.Tensor] | None = None
    lowered: int = 0
    lowered_at: int = 0
    ended: str = ""

    def summary(self) -> dict[str, int | str]:
        """Return how the training ended, for JSON: epochs, best_epoch (the last if none has a score) and ended."""
        return {"epochs": self.epoch, "best_epoch": self.best_epoch or self.epoch, "ended": self.ended}

    def keep_if_best(self, network: nn.Module, value: float) -> None:
        """Keep the network as it is after this epoch if its value is the best so far."""
        # Where no task has a score on the validation rows (labels too rare), the last epoch is taken.
        if value > self.best_value or value == -math.inf:
            self.best_epoch, self.best_value = self.epoch, value
            self.best_weights = {key: v.detach().cpu().clone() for key, v in network.state_dict().items()}


@dataclass(frozen=True)
class Length:
    """The bounds of a training, in epochs, and its rule.

    Attributes:
        least: epochs before which it does not end.
        most: epochs after which it ends.
        patience: epochs without a better score that make a plateau; None: it ends after `most`, whatever the scores.
    """

    least: int
    most: int
    patience: int | None

    @classmethod
    def of(cls, settings: TrainingConfig, n_steps: int) -> Length:
        """Return the length that the settings of a training give it.

        Args:
            settings: of the training; `epochs` is a number, or auto.
            n_steps: steps of an epoch.
        """
        if settings.epochs != "auto":
            return cls(settings.epochs, settings.epochs, None)
        least = math.ceil(settings.min_steps / n_steps)
        patience = max(settings.patience, math.ceil(SHARE_OF_A_PLATEAU * settings.min_steps / n_steps))
        return cls(least, max(settings.max_epochs, least), patience)

    def after_epoch(self, course: Course, trainer: InTraining) -> None:
        """Decide, after an epoch whose score `course` has, whether training goes on; lower the learning rate if due."""
        if course.epoch >= self.most:
            course.ended = "number" if self.patience is None else "max_epochs"
            return
        waited = course.epoch - max(course.best_epoch, course.lowered_at)
        if self.patience is None or waited < self.patience or course.epoch < self.least:
            return
        if course.lowered == LOWERINGS:
            course.ended = "plateau"
            return
        assert course.best_weights is not None, "an epoch has a score by now"
        course.lowered, course.lowered_at = course.lowered + 1, course.epoch
        trainer.network.load_state_dict(course.best_weights)
        trainer.optimization.lower(LOWERED_TO)


def without_validation(settings: TrainingConfig, n_steps: int) -> TrainingConfig:
    """Return the settings of a training that has no score on validation rows: `auto` becomes a number of epochs.

    Args:
        settings: of the training.
        n_steps: steps of an epoch.
    """
    if settings.epochs != "auto":
        return settings
    epochs = math.ceil(WITHOUT_VALIDATION * settings.min_steps / n_steps)
    changes: dict[str, Any] = {"epochs": min(epochs, max(settings.max_epochs, math.ceil(settings.min_steps / n_steps)))}
    return settings.model_copy(update=changes)
