"""Whether all nodes of a cluster reach the same run directory: each of them is asked to read and to write there."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster.nodes import ask_nodes, cluster_nodes
from stg_ray.cluster.session import root_cause
from stg_ray.errors import InputError, one_line

WAY_OUT = (
    "give --out a folder that all nodes mount (NFS and its like) or a bucket (s3://..., gs://...), or use a cluster of "
    "one node"
)


def check_shared(storage: Storage) -> None:
    """Refuse a folder that some node does not share with this process. A single node shares it with itself.

    Raises:
        InputError: which nodes, why, and what to do.
    """
    if len(cluster_nodes()) > 1 and (apart := nodes_apart(storage)):
        shown = "; ".join(f"{node} {reason}" for node, reason in list(apart.items())[:3])
        more = f"; and {len(apart) - 3} more nodes" if len(apart) > 3 else ""
        raise InputError(f"not all nodes reach the run directory {storage.uri} ({shown}{more}): {WAY_OUT}")


def nodes_apart(storage: Storage) -> dict[str, str]:
    """The nodes that do not share a folder with this process, and why: what is written here is read on every node, and
    what every node writes is read here. Nodes that do not answer in time are not among them. Nothing stays behind.

    Raises:
        OSError: this process cannot write there.
    """
    folder = f".probe-{uuid.uuid4().hex}"
    storage.write_bytes(f"{folder}/driver", folder.encode())
    try:
        answers = ask_nodes(_probe(storage.uri, folder))
        reasons: dict[str, str | None] = {}
        for node, answer in answers.items():
            if isinstance(answer, TimeoutError):
                continue  # a node that still installs its packages: what it is given waits as well
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
    def probe() -> str:
        """The name of a file that was written on this node, or what went wrong."""
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
