"""An initialisation: a network's parameters, and the rates of the steps by which it adapts to a task."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.func import functional_call, vmap

from stg_ray.errors import InputError
from stg_ray.meta.episodes import Episodes
from stg_ray.models import TaskNetwork

Tensors = dict[str, torch.Tensor]

PARAMETERS_AT_ONCE = 2**26
"""Parameters of all episodes that are computed side by side."""
INPUTS_AT_ONCE = 2**18
"""Numbers in the rows of all episodes that are computed side by side on a CPU: more do not stay in its caches."""
BLOCK = 2**16
"""Numbers in the rows that go through the trunk together on a CPU where it does not adapt: ten times as many took 1.6
times as long (three convolutions of 32 channels on images of 28 x 28)."""


@dataclass
class Initialisation:
    """A network's parameters from which it adapts, and the rates of its steps.

    Attributes:
        network: computes outputs (n, O) from inputs (n, ...); without batch statistics, which are of no single task.
        head: names of parameters begin with this in the head, which is all that adapts in ANIL.
        parameters: theta, by name.
        log_rates: of each parameter, the logarithm of its inner rate.
        below, above: the modules under the head and of the head, where the network is one after the other.
    """

    network: nn.Module
    rate: float
    head: str = "heads."
    parameters: Tensors = field(init=False)
    log_rates: Tensors = field(init=False)
    below: nn.Module | None = field(init=False)
    above: nn.Module | None = field(init=False)

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
        self.below, self.above = _halves(self.network, self.head)

    def chunks(self, episodes: Episodes) -> Iterator[Episodes]:
        """Yield the episodes that are computed side by side, as many as memory, or a CPU's caches, are for.

        Each has parameters of its own there (`PARAMETERS_AT_ONCE`), and rows (`INPUTS_AT_ONCE`).
        """
        size = PARAMETERS_AT_ONCE // sum(value.numel() for value in self.parameters.values())
        if episodes.support.device.type == "cpu":
            numbers = (episodes.support.numel() + episodes.query.numel()) // len(episodes)
            size = min(size, INPUTS_AT_ONCE // max(1, numbers))
        size = max(1, size)
        return (episodes[slice(begin, begin + size)] for begin in range(0, len(episodes), size))

    def outputs(self, parameters: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Compute outputs (n, O) of inputs (n, ...) by the network with these parameters."""
        found: torch.Tensor = functional_call(self.network, parameters, (inputs,))
        return found

    def features(self, parameters: Tensors, rows: torch.Tensor) -> torch.Tensor:
        """Compute what the head takes, (E, n, d), of the rows (E, n, ...) of episodes, whichever they are of."""
        assert self.below is not None, "asked of networks with a head"
        own = {name: value for name, value in parameters.items() if not name.startswith(self.head)}
        every = rows.flatten(0, 1)
        size = max(1, BLOCK // every[0].numel()) if every.device.type == "cpu" else len(every)
        found = torch.cat([functional_call(self.below, own, (block,)) for block in torch.split(every, size)])
        return found.reshape(*rows.shape[:2], -1)

    def side_by_side(self, moving: Tensors, fixed: Tensors, rows: torch.Tensor, *, of_head: bool) -> torch.Tensor:
        """Compute outputs (E, n, O) of the rows of episodes, each with parameters of its own.

        Args:
            moving: (E, ...) of each episode.
            fixed: which all episodes share.
            rows: (E, n, ...) inputs; features if `of_head`.
            of_head: whether the head alone is computed.
        """
        module, cut = (self.above, len(self.head)) if of_head else (self.network, 0)
        assert module is not None, "asked of networks with a head"
        every = {name: value for name, value in (fixed | moving).items() if name.startswith(self.head) or not of_head}
        own = {name[cut:]: value for name, value in every.items()}
        dims = {name[cut:]: 0 if name in moving else None for name in every}

        def of_one(parameters: Tensors, inputs: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = functional_call(module, parameters, (inputs,))
            return found

        found: torch.Tensor = vmap(of_one, in_dims=(dims, 0))(own, rows)
        return found


def _halves(network: nn.Module, head: str) -> tuple[nn.Module, nn.Module] | tuple[None, None]:
    """The modules below the head and of the head; neither of a network that may do something else between or after."""
    children = OrderedDict(network.named_children())
    last = next(reversed(children), "")
    if not isinstance(network, TaskNetwork) and (type(network) is not nn.Sequential or f"{last}." != head):
        return None, None
    above = children.pop(head.removesuffix("."), None)
    if above is None:
        return None, None
    if isinstance(network, TaskNetwork):
        children = OrderedDict(normalize=network.normalize, trunk=network.trunk)
    return nn.Sequential(children), above
