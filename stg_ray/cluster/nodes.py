"""The nodes of the joined cluster: their resources, and their answers to questions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Result = TypeVar("Result")

ANSWER_SECONDS = 60.0
"""Time that nodes have to answer."""
MAX_BUNDLES = 1000
"""Pieces of work that the autoscaler is asked to make room for, at most."""


def cluster_nodes() -> list[dict[str, float]]:
    """Return the resources of each node that is alive, by their names in Ray."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def named_nodes() -> dict[str, dict[str, float]]:
    """Return the resources of each node that is alive, by the node's name."""
    import ray

    return {node_name(node): node["Resources"] for node in ray.nodes() if node["Alive"]}


def ask_nodes(question: Callable[[], Result]) -> dict[str, Result | Exception]:
    """Call a function on every node of the cluster.

    Nodes that do no work (a head without CPUs) and nodes that leave before they answer are left out.

    Args:
        question: a function without arguments; each node calls it in a task that takes none of its resources.

    Returns:
        The function's result by the node's name, or the exception that it raised there; a `TimeoutError` where there
        is no answer within `ANSWER_SECONDS`.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = ray.remote(num_cpus=0, max_retries=1)(question)  # that a worker dies tells nothing of its node
    pending = {}
    for node in ray.nodes():
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU")):
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            pending[node["NodeID"]] = (node_name(node), asked.options(scheduling_strategy=on_node).remote())
    ray.wait([answer for _, answer in pending.values()], num_returns=max(1, len(pending)), timeout=ANSWER_SECONDS)
    answers: dict[str, Result | Exception] = {}
    for name, answer in pending.values():
        try:
            answers[name] = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            answers[name] = TimeoutError(f"no answer within {ANSWER_SECONDS:.0f} s")
            ray.cancel(answer, force=True)
        except Exception as error:
            answers[name] = error
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return {name: answers[name] for node, (name, _) in pending.items() if node in alive}


def node_name(node: Mapping[str, Any]) -> str:
    """Return a node's name for users: its address, and the beginning of its ID in Ray's dashboard."""
    return f"node {node['NodeManagerAddress']} ({node['NodeID'][:6]})"


def ask_autoscaler(resources: Mapping[str, float], number: int) -> None:
    """Ask the cluster's autoscaler, if it has one, for room for a number of pieces of work.

    A request stands until another one replaces it, which may come from another run.

    Args:
        resources: resources of one piece.
        number: number of pieces; at most `MAX_BUNDLES` are asked for.
    """
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(resources)] * min(number, MAX_BUNDLES))
