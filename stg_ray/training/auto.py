"""Resolution of the settings `auto` of a training, by the device that trains and by how much the network computes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from stg_ray.cluster.nodes import ask_nodes, cluster_nodes
from stg_ray.config import Config, TrainingConfig
from stg_ray.config.recipes import with_recipe
from stg_ray.config.sections import TRAININGS
from stg_ray.models.network import TaskNetwork
from stg_ray.models.trunks import trunk_name

BF16_FROM_FLOPS = 5e6
"""Floating-point operations of one sample's way through the trunk below which bf16 does not pay on a CPU. With
AVX-512's bf16 instructions (Zen 5, one thread, batches of 64) a step of the small CNN on 32x32 images (43 million) took
0.69 of its time in float32, of ResNet-18 (a thousand million) 0.53, of an MLP (2.6 million) 0.52, but of the small CNN
on 8x8 images (3 million) 0.94, of smaller MLPs 0.8 to 1.5."""

PAYS_BELOW = 0.85
"""Share of the time in float32 that a convolution in bf16 may take. Where it pays it took 0.6 to 0.7, on a busy
machine too: far enough from here that equal machines decide alike."""

FLOPS_OF_A_CPU = 1e10
"""Floating-point operations that one CPU does in a second of training, about."""

THREADS = 8
"""CPUs that one process makes good use of in a step, at most. Up to there threads are better than processes: with one
worker of two threads a step took, against two workers of one (two cores, medians, twice each), 0.8 and 1.2 against 5.2
and 4.4 ms (MLP on yeast), 5.1 and 6.1 against 14 and 15 ms (MLP of width 512 on 2,048 bits), 17.8 against 23.1 ms (the
small CNN on 32x32 images), 0.63 against 0.67 and 0.70 s (ResNet-18)."""

FLOPS_OF_A_THREAD = 5e8
"""Floating-point operations of a step below which a further thread does not pay. Quiet, two threads were 0.8 to 1.1
times as fast as one below a quarter of this (MLPs on 100 to 150 features), 1.3 times at 0.8 of it (MLPs on 2,000
features) and 1.6 times from 8 times on (the small CNN on 32x32 images); but threads wait for each other wherever
another process has a core: beside one on two cores they were 0.2, 0.3 and 0.7 times as fast as one thread."""

MESSAGE_SECONDS = 4e-3
"""Of a step of several workers, until all have the mean of their gradients (gloo), beside the bytes of these: what two
workers took more than one for a network of 30,000 parameters."""

BYTES_PER_SECOND = 1e9
"""Of gradients that are averaged, about."""

Training = TypeVar("Training", bound=TrainingConfig)


@dataclass(frozen=True)
class DeviceFacts:
    """The facts of a device that decide the defaults.

    Attributes:
        kind: cpu or cuda.
        bf16: whether it is faster in bfloat16.
    """

    kind: str
    bf16: bool

    @classmethod
    def here(cls) -> DeviceFacts:
        """Return the facts of this process's device: GPUs are faster in bf16 from compute capability 8 on."""
        if torch.cuda.is_available():
            return cls("cuda", torch.cuda.get_device_capability()[0] >= 8)
        return cls.of_cpu()

    @classmethod
    def of_cpu(cls) -> DeviceFacts:
        """Return the facts of this machine's CPU: bf16 instructions do not always pay, so a convolution is timed."""
        # Builds of torch without oneDNN (such as those for Apple's processors) lack the question, too.
        has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        has_units = has_onednn and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return cls("cpu", has_units and bf16_to_float32_time() < PAYS_BELOW)


@cache
def bf16_to_float32_time() -> float:
    """Time a convolution, forward and backward: its time in bf16 over that in float32.

    On one thread, the best of ten each, taken in turn (a tenth of a second). The ratio is kept for the process.
    """
    with torch.random.fork_rng(devices=[]):
        convolution = nn.Conv2d(32, 64, 3, padding=1)
    convolution.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.ones(32, 32, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(12):
            for bf16, times in seconds.items():
                began = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                    outputs = convolution(images)
                outputs.sum().backward()
                times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return min(seconds[True][2:]) / min(seconds[False][2:])


def trunk_flops(network: TaskNetwork, input_shape: tuple[int, ...]) -> float:
    """Count the floating-point operations of one sample in the trunk, forward, in matrix products and convolutions."""
    training = network.training
    with _Operations() as operations:  # with gradients: without, fused layers are not counted
        network.eval().trunk(network.normalize(torch.zeros(2, *input_shape)))
    network.train(training)
    return float(operations.number) / 2


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The number of floating-point operations within a `with` block, by torch's formulas for each kind.

    Torch's own counter imports its compiler for this, which takes a second.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0.0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled within: torch need not ask its compiler to look away

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func.overloadpacket):
            self.number += formula(*args, **(kwargs or {}), out_val=result)
        return result


def resolve_recipe(config: Config, input_shape: tuple[int, ...]) -> Config:
    """Replace `auto` in the settings that depend on the trunk by its recipe (see `config.recipes`)."""
    return with_recipe(config, trunk_name(config.model, input_shape), input_shape)


def resolve_auto(
    training: Training, facts: DeviceFacts, network: TaskNetwork, input_shape: tuple[int, ...]
) -> Training:
    """Replace `auto` in the settings of a training by what pays.

    The precision depends on the device and, on CPUs, on how much the network computes. Trunks with convolutions take
    channels_last: 1.3 to 2 times as fast for the small CNN on a CPU, no difference for ResNet-18, and the format of
    tensor cores on a GPU.

    Args:
        training: settings, of which only those that are `auto` are changed.
        facts: of the device that will train.
        network: of the tasks, as it will be trained; it is left as it was.
        input_shape: shape of one input.
    """
    changes: dict[str, Any] = {}
    if training.precision == "auto":
        pays = facts.bf16 and (facts.kind == "cuda" or trunk_flops(network, input_shape) >= BF16_FROM_FLOPS)
        changes["precision"] = "bf16" if pays else "float32"
    if training.memory_format == "auto":
        convolutional = any(isinstance(module, nn.Conv2d) for module in network.modules())
        changes["memory_format"] = "channels_last" if convolutional else "contiguous"
    return training.model_copy(update=changes)


def workers_pay(network: TaskNetwork, input_shape: tuple[int, ...], batch_size: int, cpus: Sequence[int]) -> bool:
    """Return whether a worker for every CPU trains a network faster than one worker with the CPUs of a node.

    By arithmetic: all workers share the operations of a step (backward takes twice those of forward), and average the
    gradients of all parameters; one worker has a thread for each CPU of its node, up to `THREADS`, where it has any
    more than one (see `threads_that_pay`).

    Args:
        network: of the tasks; it is left as it was.
        input_shape: shape of one input.
        batch_size: rows of a step, over all workers.
        cpus: of each node.
    """
    seconds = 3 * trunk_flops(network, input_shape) * batch_size / FLOPS_OF_A_CPU
    message = MESSAGE_SECONDS + 4 * network.n_parameters / BYTES_PER_SECOND
    return seconds / sum(cpus) + message < seconds / min(max(cpus), THREADS)


def threads_that_pay(network: TaskNetwork, input_shape: tuple[int, ...], rows: int, cpus: int) -> int:
    """Return how many of a process's CPUs share its steps: each has `FLOPS_OF_A_THREAD` to do, but for a single one.

    Args:
        network: of the tasks; it is left as it was.
        input_shape: shape of one input.
        rows: of a step, in this process.
        cpus: of the process.
    """
    return max(1, min(cpus, int(3 * trunk_flops(network, input_shape) * rows / FLOPS_OF_A_THREAD)))


def device_facts(*, on_gpus: bool) -> DeviceFacts:
    """Ask the cluster's devices that will train for their facts; bf16 pays if it does on the CPUs of every node.

    Args:
        on_gpus: whether GPUs train, where there are some.
    """
    import ray

    nodes = cluster_nodes()
    if on_gpus and any(node.get("GPU", 0) >= 1 for node in nodes):
        on_a_gpu = ray.remote(num_cpus=0, num_gpus=0.01)(lambda: DeviceFacts.here())
        return cast("DeviceFacts", ray.get(on_a_gpu.remote()))
    if len(nodes) == 1:
        return DeviceFacts.of_cpu()
    answers = [facts for facts in ask_nodes(lambda: DeviceFacts.of_cpu()).values() if isinstance(facts, DeviceFacts)]
    return DeviceFacts("cpu", bool(answers) and all(facts.bf16 for facts in answers))


def resolve_auto_on_cluster(config: Config, network: TaskNetwork, input_shape: tuple[int, ...]) -> Config:
    """Replace `auto` in both trainings of a configuration by what pays on the devices of the joined cluster.

    Args:
        config: of a run; its recipe is resolved.
        network: of all tasks.
        input_shape: shape of one input.
    """
    trainings: dict[str, TrainingConfig] = {name: getattr(config, name) for name in TRAININGS}
    facts = {on: device_facts(on_gpus=on) for on in {each.gpu_share > 0 for each in trainings.values()}}
    sections = {
        name: resolve_auto(each, facts[each.gpu_share > 0], network, input_shape) for name, each in trainings.items()
    }
    return config.model_copy(update=sections)
