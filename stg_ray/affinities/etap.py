"""ETAP (arXiv 2602.18591): what the optimizer's step on a task does to another's loss, to first order.

Z_ij = <grad L_j, u_i - u_0> / L_j, with u_i what the training's own optimizer would take from the shared parameters in
a step on L_i alone, u_0 what it would take in one without a gradient, by momentum and weight decay, and the gradient
with respect to them, averaged over a training run on all tasks. It is directed. The paper leaves u_0 in: it is the same
for all tasks, and tells nothing of who helps whom.

That is TAG's lookahead without the lookahead: a look takes one forward pass, and K backward passes and K steps of the
optimizer, instead of K forward passes more. With `profile.looks` the looks are taken in the profile, at its own
batches (on every worker at its rows of them), and no other training is needed. Effects of several tasks' steps add, so
those of a group are sums. The paper goes on with a non-linear map of them, and a ridge regression of what is left, both
of measured groups: the search's surrogate has such a regression, with any affinity, and no such map.
"""

from __future__ import annotations

from typing import ClassVar

from stg_ray.affinities.tag import TagAffinity


class Etap(TagAffinity):
    """The mean effects over the profile, or over a training run like tag's, looked at now and then."""

    method: ClassVar[str] = "etap"
    about: ClassVar[str] = (
        "What the optimizer's step on the row's task does to the loss of the column's, to first order: positive where "
        "it lowers it."
    )
