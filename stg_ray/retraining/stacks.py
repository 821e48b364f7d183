"""Which networks share a trial: small ones that start alike, which are trained in step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Sequence

from stg_ray.config import Config
from stg_ray.data.parts import PartIndex
from stg_ray.models import build_network
from stg_ray.models.trunks import trunk_name
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.training.stacked import can_stack

MOST = 32
"""Networks of a trial: more save little, and are lost together where a process dies."""

MOST_LABELS = 2**26
"""Numbers of training labels that a trial holds, each in float32, for all of its networks together."""


def spec_stacks(config: Config, spec: NetworkSpec) -> bool:
    """Whether the settings of a network are those of a stack: plain float32, without draws or weights of its own."""
    retrain, model = config.retrain, config.model
    plain = retrain.learner == "joint" and retrain.precision != "bf16" and not retrain.compile
    as_they_are = not (retrain.flip or retrain.crop or spec.branches or spec.adaptive)
    from_scratch = model.weights is None and model.trunk_file is None
    return retrain.stacked == "auto" and plain and as_they_are and from_scratch


def in_trials(config: Config, index: PartIndex, specs: Sequence[NetworkSpec], at_once: int) -> list[list[NetworkSpec]]:
    """Return which networks share a trial, in the order of the first of each.

    Networks of one seed that start alike are cut into as many trials of equal size as keep all places busy.

    Args:
        index: of the parts.
        at_once: trials that there is room for.
    """
    together: dict[Hashable, list[NetworkSpec]] = {}
    small: dict[Hashable, bool] = {}
    for number, spec in enumerate(specs):
        own = spec.settled(config)
        model = own.model.model_dump_json()
        if model not in small:
            small[model] = is_small(own, index)
        stacks = small[model] and spec_stacks(own, spec) and not config.retrain.loggers
        alike = (spec.draws, spec.epochs, spec.start, spec.settings, spec.fold, spec.pause, spec.frozen)
        together.setdefault(alike if stacks else number, []).append(spec)
    n_stacked = sum(len(own) for own in together.values() if len(own) > 1)
    labels = index.n_samples("train") * max((len(spec.tasks) for spec in specs), default=1)
    most = max(1, min(MOST, math.ceil(n_stacked / at_once), MOST_LABELS // labels))
    return [part for own in together.values() for part in _cut(own, math.ceil(len(own) / most))]


def is_small(config: Config, index: PartIndex) -> bool:
    """Return whether the network of all tasks can be stacked."""
    if trunk_name(config.model, index.input_shape) not in ("linear", "mlp"):
        return False
    network = build_network(config.model, index, index.tasks, config.seed)
    return can_stack(network, network.layout.n_outputs)


def _cut(specs: Sequence[NetworkSpec], n_parts: int) -> list[list[NetworkSpec]]:
    """Cut networks into parts of equal size, but for one."""
    bounds = [len(specs) * part // n_parts for part in range(n_parts + 1)]
    return [list(specs[start:end]) for start, end in itertools.pairwise(bounds)]
