"""The computation of a network: its device, its precision and memory format, compiled or not."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from stg_ray.errors import InputError, one_line

if TYPE_CHECKING:
    from stg_ray.config import TrainingConfig

CPU = torch.device("cpu")

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Parameters of glibc's mallopt, from malloc.h."""


@contextmanager
def training_process(threads: int) -> Iterator[None]:
    """Set this process up for training: `threads` threads of torch, and memory that is kept until the training ends.

    What a step frees, the next one needs again, but glibc gives it back to the system meanwhile, the more so in a
    thread other than the first, which is where Ray Train and Tune train. A worker of the profile was 0.82 times as fast
    as a bare loop (small CNN, bf16) for the page faults of that, and is as fast without. Blocks of more than 32 MiB are
    given back all the same. The settings stay with the process.
    """
    # A convolution of more threads than OpenMP gives it would wait for the others for ever.
    torch.set_num_threads(min(threads, int(os.environ.get("OMP_THREAD_LIMIT") or threads)))
    if not sys.platform.startswith("linux"):
        yield
        return
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):  # another C library, such as musl
        yield
        return
    libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes
    libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    libc.mallopt(M_TOP_PAD, 64 << 20)  # a thread's heap is this large: so none is given back
    try:
        yield
    finally:
        libc.malloc_trim(0)  # the next training of this process may be in a thread that has another heap


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 as float32 while the block runs: not as TF32, whose fractions have 10 bits instead of 23.

    For convolutions on GPUs TF32 is torch's default. A training hardly notices; differences of gradients do.
    """
    settings = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = settings


def usable_device(device: torch.device | str) -> torch.device:
    """Return a device by its name, if torch can compute on it here.

    Raises:
        InputError: there is no such device.
    """
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:  # torch has no class for it
        raise InputError(
            f"device={str(device)!r} is not to be had here ({one_line(error)[:120]}): choose cpu, or cuda on a machine "
            "with a GPU"
        ) from error
    return found


@dataclass(frozen=True)
class Compute:
    """Settings that change the speed of a training run, and its results by rounding only.

    Attributes:
        device: where the network and its batches are.
        bf16: compute the trunk in bfloat16 by autocast; the heads of a TaskNetwork stay in float32.
        channels_last: keep weights and images in that memory format.
        compile: compile the network by torch.compile.
    """

    device: torch.device = CPU
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False

    @classmethod
    def of(cls, config: TrainingConfig, device: torch.device | str = CPU) -> Compute:
        """Return the settings of a configuration on a device; those that are still `auto` are plain.

        Raises:
            InputError: there is no such device here.
        """
        return cls(
            usable_device(device),
            bf16=config.precision == "bf16",
            channels_last=config.memory_format == "channels_last",
            compile=config.compile,
        )

    @property
    def device_name(self) -> str:
        """Name of the device, such as cpu or NVIDIA H100 80GB HBM3."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network to the device, its weights in the memory format, and return it."""
        if self.channels_last:  # the stub of Module.to has no overload for a memory format alone
            return cast("nn.Module", network.to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        return network.to(self.device)

    def compiled(self, model: nn.Module) -> nn.Module:
        """Return the model compiled, if it is to be; it shares its parameters with the original."""
        return cast("nn.Module", torch.compile(model)) if self.compile else model

    def batch(self, rows: torch.Tensor) -> torch.Tensor:
        """Return rows on the device, by way of pinned memory to a GPU: the copy does not hold up the next step then."""
        if self.device.type == "cuda":
            rows = rows.pin_memory().to(self.device, non_blocking=True)
        if self.channels_last and rows.ndim == 4:
            rows = rows.contiguous(memory_format=torch.channels_last)
        return rows

    def forward(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Return the outputs of a batch; those of a TaskNetwork are in float32, whatever the precision on the way."""
        precision: AbstractContextManager[Any] = nullcontext()
        if self.bf16:
            precision = torch.autocast(self.device.type, torch.bfloat16)
        with precision:
            return cast("torch.Tensor", model(batch))


PLAIN = Compute()
"""float32 on the CPU."""
