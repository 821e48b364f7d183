"""How a network is run: on which device, in which precision and memory format, compiled or not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compute:
    """Settings that change the speed of a training run, and its results by rounding only."""

    device: torch.device = CPU
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False

    @classmethod
    def of(cls, config: TrainingConfig, device: torch.device | str = CPU) -> Compute:
        """As configured; what is still `auto` is plain."""
        return cls(
            torch.device(device),
            bf16=config.precision == "bf16",
            channels_last=config.memory_format == "channels_last",
            compile=config.compile,
        )

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, its weights in the memory format."""
        if self.channels_last:
            return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device)

    def compiled(self, model: nn.Module) -> Any:
        return torch.compile(model) if self.compile else model

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """A batch on the device; from pinned memory if it is a GPU, so that the copy does not hold up the next step."""
        if self.device.type == "cuda":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        if self.channels_last and rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        return rows

    def forward(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Outputs in float32, whatever the precision on the way."""
        precision: AbstractContextManager[Any] = nullcontext()
        if self.bf16:
            precision = torch.autocast(self.device.type, torch.bfloat16)
        with precision:
            outputs = model(batch)
        return outputs.float() if self.bf16 else outputs


PLAIN = Compute()


@dataclass(frozen=True)
class DeviceFacts:
    """What decides the defaults: the kind of device that trains, and whether bf16 pays on it."""

    kind: str
    bf16: bool

    @classmethod
    def here(cls) -> DeviceFacts:
        """Of this process: bf16 pays on GPUs from compute capability 8 on, and on CPUs with matrix units (AMX).

        On a CPU with AVX-512's bf16 instructions but without matrix units it does not: the small CNN and ResNet-18
        trained at 0.75 to 0.9 of their speed in float32.
        """
        if torch.cuda.is_available():
            return cls("cuda", torch.cuda.get_device_capability()[0] >= 8)
        return cls("cpu", bool(torch.cpu._is_amx_tile_supported()))


def settle(training: TrainingConfig, facts: DeviceFacts, *, convolutional: bool) -> TrainingConfig:
    """Replace `auto` by what pays: bf16 by the device, channels_last for trunks with convolutions (1.3 to 1.6 times as
    fast for the small CNN on a CPU, no difference for ResNet-18; what tensor cores want on a GPU)."""
    changes: dict[str, Any] = {}
    if training.precision == "auto":
        changes["precision"] = "bf16" if facts.bf16 else "float32"
    if training.memory_format == "auto":
        changes["memory_format"] = "channels_last" if convolutional else "contiguous"
    return training.model_copy(update=changes)
