"""Transfer gain (Wang et al., Principled Task Grouping, arXiv 2402.15328): what a task gains from another in its step.

S_ij = 1 - L_j(after a step on L_i + L_j) / L_j(after a step on L_j alone), trunk and heads stepped by the training's
own optimizer, which is then put back, averaged over a training run on all tasks. It is directed, and 0 of a task with
itself. A look takes K + K (K - 1) / 2 steps and as many forward passes, since a step on two tasks tells of both.
"""

from __future__ import annotations

from typing import ClassVar

from stg_ray.affinities.tag import TagAffinity


class TransferGain(TagAffinity):
    """The mean gains over the profile, or over a training run like tag's, looked at now and then."""

    method: ClassVar[str] = "transfer_gain"
    about: ClassVar[str] = (
        "What the column's task gains if a training step is taken on the row's task, too: positive where its loss is "
        "lower than after a step of its own."
    )
