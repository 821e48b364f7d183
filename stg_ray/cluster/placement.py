"""Placement of work on the nodes of a cluster: workers of the profile, actors of the affinities, trials.

Ray queues infeasible requests forever; ask for less, or fall back to CPUs, and report it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stg_ray.errors import StgRayError
from stg_ray.shown import counted

Resources = Mapping[str, float]
"""Amounts by the names of resources in Ray: CPU, GPU."""


@dataclass(frozen=True)
class Placement:
    """Equal pieces of work on the nodes of a cluster.

    Attributes:
        resources: resources of one piece.
        on_nodes: number of pieces that each node holds at once.
        instead: a note for users where the request cannot be met: what is done instead, and why; else empty.
    """

    resources: dict[str, float]
    on_nodes: list[int]
    instead: str = ""

    @property
    def each(self) -> str:
        """The resources of one piece in words, such as `1 CPU and 0.5 GPU`."""
        return " and ".join(f"{amount:.3g} {name}" for name, amount in self.resources.items())

    def times(self, number: int) -> str:
        """Return the resources of so many pieces in words, such as `4 CPUs and 2 GPUs`."""
        totals = {name: number * amount for name, amount in self.resources.items()}
        return " and ".join(f"{total:.3g} {name}{'s' * (total > 1)}" for name, total in totals.items())

    @property
    def at_once(self) -> int:
        """The number of pieces that all nodes hold at once."""
        return sum(self.on_nodes)


def place(nodes: Sequence[Resources], gpus: float) -> Placement:
    """Place pieces of work with a CPU each, and a share of one GPU where a node has GPUs and CPUs.

    Args:
        nodes: resources of each node.
        gpus: share of a GPU for one piece, at most 1; 0 for none.

    Raises:
        StgRayError: there is no CPU.
    """
    on_cpu = {"CPU": 1.0}
    on_gpu = on_cpu | ({"GPU": gpus} if gpus else {})
    has_gpus = bool(gpus) and any(node.get("GPU", 0) >= 1 for node in nodes)
    if has_gpus and any(fits(node, on_gpu) for node in nodes):
        return Placement(on_gpu, [fits(node, on_gpu) for node in nodes])
    on_nodes = [fits(node, on_cpu) for node in nodes]
    if not sum(on_nodes):
        raise _no_cpus()
    return Placement(on_cpu, on_nodes, "on CPUs: no node has both a GPU and a CPU" if has_gpus else "")


def place_workers(
    nodes: Sequence[Resources], workers: int | Literal["auto"], n_parts: int, gpus: float = 1.0
) -> tuple[int, Placement]:
    """Choose how many workers train one network together, and where they fit.

    There are never more workers than parts, nor than the nodes hold. Each gets as many CPUs as fit.

    Args:
        nodes: resources of each node.
        workers: the number that is asked for; auto: one per GPU, else one per CPU.
        n_parts: number of parts of the task set.
        gpus: largest share of a GPU for one worker; 0 for none.

    Returns:
        The number of workers, and their placement.

    Raises:
        StgRayError: there is no CPU.
    """
    with_gpus = [node for node in nodes if gpus and node.get("GPU", 0) >= 1 and node.get("CPU", 0) >= 1]
    usable = with_gpus or nodes
    n_gpus = sum(int(node.get("GPU", 0)) for node in with_gpus)
    cpus = [int(node.get("CPU", 0)) for node in usable]
    if not sum(cpus):
        raise _no_cpus()
    count = min(n_parts, sum(cpus), (n_gpus or sum(cpus)) if workers == "auto" else workers)
    # Where there are more workers than GPUs, they share them.
    gpu = {"GPU": min(gpus, 1 / math.ceil(count / n_gpus))} if n_gpus else {}

    def room(cpus_each: int) -> int:
        return sum(fits(node, {"CPU": cpus_each} | gpu) for node in usable)

    most = max((cpus_each for cpus_each in range(1, max(cpus) + 1) if room(cpus_each) >= count), default=1)
    count = min(count, room(most))
    resources: dict[str, float] = {"CPU": most} | gpu
    instead = ""
    if workers not in ("auto", count):
        why = f"the task set has {counted(n_parts, 'part')}" if count == n_parts else "no more fit on the nodes"
        instead = f"{counted(count, 'worker')} instead of {workers}: {why}"
    return count, Placement(resources, [fits(node, resources) for node in nodes], instead)


def place_trials(nodes: Sequence[Resources], workers: int, gpus: float) -> tuple[int, Placement]:
    """Choose how many workers train each network, and where workers fit.

    Args:
        nodes: resources of each node.
        workers: the number for each network that is asked for.
        gpus: share of a GPU for one worker, at most 1.

    Returns:
        The number of workers for each network, at most as many as the nodes hold, and the placement of workers.

    Raises:
        StgRayError: there is no CPU.
    """
    placement = place(nodes, gpus)
    count = min(workers, placement.at_once)
    if count < workers:
        fewer = f"{counted(count, 'worker')} for each network instead of {workers}: no more fit on the nodes"
        placement = replace(placement, instead="; ".join(filter(None, (placement.instead, fewer))))
    return count, placement


def fits(node: Resources, resources: Resources) -> int:
    """Return how many pieces of work a node holds at once; a share of a GPU lies on one GPU."""
    most = int(node.get("CPU", 0) // resources["CPU"])
    gpu = resources.get("GPU", 0)
    return min(most, int(node.get("GPU", 0)) * int(1 / gpu + 1e-9)) if gpu else most


def _no_cpus() -> StgRayError:
    return StgRayError(
        "the cluster has no CPUs to work on (its nodes may still be starting): give the same command again when ray "
        "status shows some"
    )


def cpus_here() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
