"""The nodes of the cluster that is joined: what they have, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    pass

Result = TypeVar("Result")


ANSWER_SECONDS = 60.0


MOST_ASKED = 1000


def cluster_nodes() -> list[dict[str, float]]:
    """Resources of each node that is alive, as Ray names them."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def named_nodes() -> dict[str, dict[str, float]]:
    """Resources of each node that is alive, by the node's name."""
    import ray

    return {node_name(node): node["Resources"] for node in ray.nodes() if node["Alive"]}


def ask_nodes(question: Callable[[], Result]) -> dict[str, Result | Exception]:
    """What every node of the cluster answers, or what went wrong there, by the node's name. Nodes that do no work (a
    head without CPUs) and such as are gone before they answer are left out.

    Args:
        question: a function without arguments; it is called on each node in a task that takes none of its resources.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = ray.remote(num_cpus=0, max_retries=0)(question)
    answers = {}
    for node in ray.nodes():
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU")):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answers[node["NodeID"]] = (node_name(node), asked.options(scheduling_strategy=there).remote())
    ray.wait([answer for _, answer in answers.values()], num_returns=max(1, len(answers)), timeout=ANSWER_SECONDS)
    found: dict[str, Result | Exception] = {}
    for name, answer in answers.values():
        try:
            found[name] = ray.get(answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            found[name] = TimeoutError(f"no answer within {ANSWER_SECONDS:.0f} s")
            ray.cancel(answer, force=True)
        except Exception as error:
            found[name] = error
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return {name: found[name] for node, (name, _) in answers.items() if node in alive}


def node_name(node: Mapping[str, Any]) -> str:
    """A node as it is named to users: its address, and the beginning of its number in Ray's dashboard."""
    return f"node {node['NodeManagerAddress']} ({node['NodeID'][:6]})"


def ask_autoscaler(resources: Mapping[str, float], number: int) -> None:
    """Ask the cluster's autoscaler, where it has one, for room for so many pieces of work. A request stands until
    another one, also one of another run, takes its place."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(resources)] * min(number, MOST_ASKED))


def cluster_total(resource: str) -> int:
    return int(sum(node.get(resource, 0) for node in cluster_nodes()))
