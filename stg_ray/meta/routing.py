"""A new task is served by the group whose initialisation adapts best on its support rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.func import vmap

from stg_ray.meta.episodes import Episodes
from stg_ray.meta.learners import Initialisation, Learner


@torch.no_grad()
def held_out_losses(start: Initialisation, learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) losses on support rows by an initialisation that adapts to the others of them.

    Every other row makes a half; each is judged after adapting to the other half, so that what fits any rows is no
    better for that. Query rows are not looked at.
    """
    even = torch.arange(episodes.support.shape[1], device=episodes.support.device) % 2 == 0
    loss = episodes.loss

    def of_one(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        like = next(iter(start.parameters.values()))
        total = torch.zeros((), dtype=like.dtype, device=like.device)
        for mine in (even, ~even):
            adapted = learner.adapted(start, start.parameters, start.log_rates, inputs[mine], labels[mine], loss)
            total = total + loss(start.outputs(adapted, inputs[~mine]), labels[~mine]) / 2
        return total

    return torch.cat([vmap(of_one)(own.support, own.support_labels) for own in start.chunks(episodes)])


def route(starts: Sequence[Initialisation], learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) number of the initialisation that adapts best on the support rows of each episode."""
    return torch.stack([held_out_losses(start, learner, episodes) for start in starts]).argmin(dim=0)
