"""A new task is served by the group whose initialisation adapts best on its support rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes
from stg_ray.meta.initialisation import Initialisation
from stg_ray.meta.learners import Learner


@torch.no_grad()
def held_out_losses(start: Initialisation, learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) losses on support rows by an initialisation that adapts to the others of them.

    The rows of each class are dealt to two halves in turn; each half is judged after adapting to the other, so that
    what fits any rows is no better for that. Query rows are not looked at.

    Raises:
        InputError: an episode has a class, or is a regression, with one support row.
    """
    theta, found = start.parameters, []
    order = _by_class(episodes)
    episode = torch.arange(len(episodes), device=order.device)[:, None]
    support, of_support = episodes.support[episode, order], episodes.support_labels[episode, order]
    arranged = Episodes(support, of_support, episodes.query, episodes.query_labels)
    even = torch.arange(order.shape[1], device=order.device) % 2 == 0
    for own in start.chunks(arranged):
        rows, labels = learner.seen(start, theta, own.support), own.support_labels
        total = torch.zeros(len(own), device=rows.device)
        for mine in (even, ~even):
            moved = learner.adapted(start, theta, start.log_rates, rows[:, mine], labels[:, mine], own.loss)
            total = total + learner.losses(start, theta, moved, rows[:, ~mine], labels[:, ~mine], own.loss) / 2
        found.append(total)
    return torch.cat(found)


def route(starts: Sequence[Initialisation], learner: Learner, episodes: Episodes) -> torch.Tensor:
    """Return the (E,) number of the initialisation that adapts best on the support rows of each episode.

    Raises:
        InputError: there are several initialisations, and a class has one support row: nothing is left to judge them.
    """
    if len(starts) == 1:
        return torch.zeros(len(episodes), dtype=torch.int64, device=episodes.support.device)
    return torch.stack([held_out_losses(start, learner, episodes) for start in starts]).argmin(dim=0)


def _by_class(episodes: Episodes) -> torch.Tensor:
    """Return the order (E, s) of support rows, class after class: every other row is half of each class."""
    labels = episodes.support_labels
    if labels.is_floating_point():
        fewest, order = labels.shape[1], torch.arange(labels.shape[1], device=labels.device).expand(labels.shape)
    else:
        fewest = int((labels[:, :, None] == labels[:, None]).sum(dim=2).min())
        order = labels.argsort(dim=1, stable=True)
    if fewest < 2:
        raise InputError(
            "an episode has one support row of a class, which cannot both be adapted to and judge an initialisation: "
            "give 2 shots or more, or choose the initialisation yourself"
        )
    return order
