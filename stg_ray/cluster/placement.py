"""What the nodes of a cluster hold at once: workers of the profile, actors of the affinities, trials.

A request that no node can meet waits for ever in Ray, so none is made: fewer workers or smaller ones are asked for, or
CPUs where no GPU can be used, and it is said.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stg_ray.errors import StgRayError

Resources = Mapping[str, float]
"""By their names in Ray: CPU, GPU."""


@dataclass(frozen=True)
class Placement:
    """Equal pieces of work on the nodes of a cluster.

    Attributes:
        resources: of each piece.
        on_nodes: how many pieces each node holds at once.
        instead: what was asked for and is not there, and what is done instead; empty if all is as asked for.
    """

    resources: dict[str, float]
    on_nodes: list[int]
    instead: str = ""

    @property
    def each(self) -> str:
        """The resources of one piece in words."""
        return " and ".join(f"{amount:.3g} {name}" for name, amount in self.resources.items())

    @property
    def at_once(self) -> int:
        return sum(self.on_nodes)


def place(nodes: Sequence[Resources], gpus: float) -> Placement:
    """Pieces of work with a CPU each, and a part of one GPU where a node has GPUs and CPUs.

    Args:
        nodes: resources of each node.
        gpus: GPU of one piece, at most 1; 0 for none.

    Raises:
        StgRayError: there is no CPU.
    """
    alone = {"CPU": 1.0}
    shared = alone | ({"GPU": gpus} if gpus else {})
    has_gpus = bool(gpus) and any(node.get("GPU", 0) >= 1 for node in nodes)
    if has_gpus and any(fits(node, shared) for node in nodes):
        return Placement(shared, [fits(node, shared) for node in nodes])
    on_nodes = [fits(node, alone) for node in nodes]
    if not sum(on_nodes):
        raise _no_cpus()
    return Placement(alone, on_nodes, "on CPUs: no node has both a GPU and a CPU" if has_gpus else "")


def place_workers(nodes: Sequence[Resources], workers: int | Literal["auto"], n_parts: int) -> tuple[int, Placement]:
    """How many workers train together, and where they fit: one per GPU, else per CPU, if auto; as many CPUs for each as
    fit. Never more workers than parts, nor than the nodes hold.

    Args:
        nodes: resources of each node.

    Raises:
        StgRayError: there is no CPU.
    """
    with_gpus = [node for node in nodes if node.get("GPU", 0) >= 1 and node.get("CPU", 0) >= 1]
    usable = with_gpus or nodes
    gpus = sum(int(node.get("GPU", 0)) for node in with_gpus)
    cpus = [int(node.get("CPU", 0)) for node in usable]
    if not sum(cpus):
        raise _no_cpus()
    count = min(n_parts, sum(cpus), (gpus or sum(cpus)) if workers == "auto" else workers)
    gpu = {"GPU": 1 / math.ceil(count / gpus)} if gpus else {}  # several workers on one GPU, where they are more

    def room(of_one: int) -> int:
        return sum(fits(node, {"CPU": of_one} | gpu) for node in usable)

    most = max((of_one for of_one in range(1, max(cpus) + 1) if room(of_one) >= count), default=1)
    count = min(count, room(most))
    resources: dict[str, float] = {"CPU": most} | gpu
    instead = ""
    if workers not in ("auto", count):
        why = f"there are {n_parts} parts" if count == n_parts else "no more fit on the nodes"
        instead = f"{count} worker{'s' * (count > 1)} instead of {workers}: {why}"
    return count, Placement(resources, [fits(node, resources) for node in nodes], instead)


def place_trials(nodes: Sequence[Resources], workers: int, gpus: float) -> tuple[int, Placement]:
    """How many workers train each network, and where workers fit: as many as asked for, or as the nodes hold.

    Args:
        nodes: resources of each node.
        gpus: GPU of one worker, at most 1.

    Raises:
        StgRayError: there is no CPU.
    """
    placement = place(nodes, gpus)
    count = min(workers, placement.at_once)
    if count < workers:
        fewer = f"{count} worker{'s' * (count > 1)} for each network instead of {workers}: no more fit on the nodes"
        placement = replace(placement, instead="; ".join(filter(None, (placement.instead, fewer))))
    return count, placement


def fits(node: Resources, resources: Resources) -> int:
    """How many pieces of work a node holds at once; what is less than a GPU is of one GPU."""
    most = int(node.get("CPU", 0) // resources["CPU"])
    gpu = resources.get("GPU", 0)
    return min(most, int(node.get("GPU", 0)) * int(1 / gpu + 1e-9)) if gpu else most


def _no_cpus() -> StgRayError:
    return StgRayError(
        "the cluster has no CPUs to work on (its nodes may still be starting): give the same command again when ray "
        "status shows some"
    )


def cpus_here() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
