"""The steps of networks: by themselves, or of several in step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from stg_ray.retraining.learning.base import Learning
from stg_ray.training.stacked import StackedTrainer


class Steps:
    """The epochs of networks that take every step together: of one, or of those with equal `Learning.stack`.

    Args:
        learnings: of at least one network, that have come equally far.
    """

    def __init__(self, learnings: Sequence[Learning]) -> None:
        self.learnings = learnings
        first = learnings[0]
        self.stack: StackedTrainer | None = None if first.stack is None else first.in_step(learnings)

    def epoch(self, number: int, count: Callable[[int], None] | None) -> list[torch.Tensor]:
        """Train for one epoch, and return the sums of the losses of each, as `Learning.epoch` does."""
        if self.stack is not None:
            return self.stack.epoch(number, count)
        return [learning.epoch(number, count) for learning in self.learnings]

    def hand_over(self) -> None:
        """Give each network the state that it has in its stack, to be kept."""
        if self.stack is not None:
            self.stack.hand_over()

    def release(self, learning: Learning) -> None:
        """Give a network that leaves weights of its own."""
        if self.stack is not None:
            self.stack.release(learning.network)
