"""The ranks of a training: the processes that train one network together, as one of them sees them."""

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

    Every batch is shared among the ranks. Gradients are averaged over ranks, so each rank divides its loss by
    divisor / world.

    Attributes:
        rank: number of this process, from 0.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def of_ray_train(cls) -> Ranks:
        """Return the rank of this Ray Train worker among the workers of its run."""
        import ray.train

        context = ray.train.get_context()
        return cls(context.get_world_rank(), context.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which evaluates and writes for all ranks."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with a backward pass that averages gradients over ranks; itself if there is one rank.

        Args:
            network: equal on all ranks, and on its device already.
        """
        if self.world == 1:
            return network
        import ray.train.torch

        # Gradients that are views of what is sent are not copied back and forth.
        wrapped: nn.Module = ray.train.torch.prepare_model(
            network, move_to_device=False, parallel_strategy_kwargs={"gradient_as_bucket_view": True}
        )
        return wrapped

    def from_first(self, read: Callable[[], Result], device: torch.device | str) -> Result:
        """Return what `read` returns on rank 0, on every rank: two ranks may see different states of one file.

        Args:
            read: called on rank 0 only; its result is pickled.
            device: through which the ranks talk: a GPU where the backend is nccl.
        """
        if self.world == 1:
            return read()
        box = [read() if self.is_first else None]
        dist.broadcast_object_list(box, src=0, device=torch.device(device))
        return cast("Result", box[0])

    def sum(self, values: torch.Tensor, device: torch.device | str) -> torch.Tensor:
        """Return the sums of a tensor over all ranks, in float64, on the CPU.

        Args:
            values: of this rank, of the same shape on every rank.
            device: through which the ranks talk: a GPU where the backend is nccl.
        """
        values = values.double()
        if self.world > 1:
            values = values.to(device)
            dist.all_reduce(values)
        return values.cpu()


ALONE = Ranks()
"""A process that trains by itself."""
