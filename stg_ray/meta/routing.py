"""A new task is served by the group whose initialisation adapts best on its support rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stg_ray.meta.episodes import Episodes
from stg_ray.meta.initialisation import Initialisation
from stg_ray.meta.learners import Learner


@torch.no_grad()
def held_out_losses(start: Initialisation, learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) losses on support rows by an initialisation that adapts to the others of them.

    Every other row makes a half; each is judged after adapting to the other half, so that what fits any rows is no
    better for that. Query rows are not looked at.
    """
    even = torch.arange(episodes.support.shape[1], device=episodes.support.device) % 2 == 0
    theta, found = start.parameters, []
    for own in start.chunks(episodes):
        rows, labels = learner.seen(start, theta, own.support), own.support_labels
        total = torch.zeros(len(own), device=rows.device)
        for mine in (even, ~even):
            moved = learner.adapted(start, theta, start.log_rates, rows[:, mine], labels[:, mine], own.loss)
            total = total + learner.losses(start, theta, moved, rows[:, ~mine], labels[:, ~mine], own.loss) / 2
        found.append(total)
    return torch.cat(found)


def route(starts: Sequence[Initialisation], learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) number of the initialisation that adapts best on the support rows of each episode."""
    return torch.stack([held_out_losses(start, learner, episodes) for start in starts]).argmin(dim=0)
