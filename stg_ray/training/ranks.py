"""The processes that train one network together, as one of them sees them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """This process among those of a training run; by default it is alone.

    Every batch is shared among all of them, and the mean of their gradients is taken: a loss that is to be the whole
    batch's is so divided by its `world`-th part (`divisor / world`).
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_ray_train(cls) -> Ranks:
        """Of this Ray Train worker."""
        import ray.train

        context = ray.train.get_context()
        return cls(context.get_world_rank(), context.get_world_size())

    @property
    def is_first(self) -> bool:
        """The one that writes what all of them share."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass takes the mean of all gradients; it must be on its device."""
        if self.world == 1:
            return network
        import ray.train.torch

        # Gradients that are views of what is sent are not copied back and forth.
        return ray.train.torch.prepare_model(
            network, move_to_device=False, parallel_strategy_kwargs={"gradient_as_bucket_view": True}
        )

    def from_first(self, read: Callable[[], Result], device: torch.device | str) -> Result:
        """What `read` gives in the first process: two that look at the same file may see different ones."""
        if self.world == 1:
            return read()
        box = [read() if self.is_first else None]
        dist.broadcast_object_list(box, src=0, device=torch.device(device))
        return cast("Result", box[0])

    def sum(self, values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
        """Sums over all processes, in float64, on the CPU.

        Args:
            device: through which they talk: a GPU where the backend is nccl.
        """
        values = values.double()
        if self.world > 1:
            values = values.to(device)
            dist.all_reduce(values)
        return values.cpu()


ALONE = Ranks()
