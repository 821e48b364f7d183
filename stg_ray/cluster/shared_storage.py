"""A check that all nodes of a cluster reach the same run directory: each of them reads and writes a file there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.calls import root_cause
from stg_ray.cluster.nodes import ask_nodes, cluster_nodes
from stg_ray.errors import InputError, one_line

REMEDY = (
    "give --out a folder that all nodes mount (NFS and its like) or a bucket (s3://..., gs://...), or use a cluster of "
    "one node"
)


def check_shared(storage: Storage) -> None:
    """Refuse a folder that some node does not share with this process. On a single node every folder is shared.

    Raises:
        InputError: some nodes do not share the folder; the message names them.
    """
    if len(cluster_nodes()) > 1 and (apart := nodes_apart(storage)):
        shown = "; ".join(f"{node} {reason}" for node, reason in list(apart.items())[:3])
        more = f"; and {len(apart) - 3} more nodes" if len(apart) > 3 else ""
        raise InputError(f"not all nodes reach the run directory {storage.uri} ({shown}{more}): {REMEDY}")


def nodes_apart(storage: Storage) -> dict[str, str]:
    """Return the nodes that do not share a folder with this process.

    Every node reads a file that this process wrote, and this process reads the files that the nodes wrote. All of them
    are deleted afterwards. Nodes that do not answer in time are left out.

    Returns:
        The reasons by the nodes' names.

    Raises:
        OSError: this process cannot write to the folder.
    """
    folder = f".probe-{uuid.uuid4().hex}"
    storage.write_bytes(f"{folder}/driver", folder.encode())
    try:
        answers = ask_nodes(_probe(storage.uri, folder))
        reasons: dict[str, str | None] = {}
        for node, answer in answers.items():
            if isinstance(answer, TimeoutError):
                continue  # the node may still be installing its packages; work for it waits as well
            if isinstance(answer, Exception):
                reasons[node] = f"did not answer: {root_cause(answer)}"
            elif not answer.startswith(folder):
                reasons[node] = answer
            elif not storage.exists(f"{folder}/{answer.rpartition('/')[2]}"):
                reasons[node] = "writes into another folder of that name"
        return {node: reason for node, reason in reasons.items() if reason}
    finally:
        with suppress(OSError):
            storage.delete(folder)


def _probe(uri: str, folder: str) -> Callable[[], str]:
    """Return the function that a node calls: it returns the name of the file that it wrote, or what went wrong."""

    def probe() -> str:
        name = f"{folder}/{uuid.uuid4().hex}"
        try:
            storage = Storage(uri)
            if not storage.exists(f"{folder}/driver"):
                return "does not see what this machine writes there"
            storage.write_bytes(name, storage.read_bytes(f"{folder}/driver"))
        except (OSError, InputError) as error:
            return f"cannot use it: {getattr(error, 'strerror', None) or one_line(error)}"
        return name

    return probe
