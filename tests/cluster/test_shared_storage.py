"""Nodes are asked whether they share the run directory; a slow answer is not taken for a no."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stg_ray.artifacts.storage import Storage
from stg_ray.cluster import nodes as cluster
from stg_ray.cluster import shared_storage
from stg_ray.cluster.nodes import ask_nodes
from stg_ray.cluster.shared_storage import nodes_apart

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_slow_node_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.3)
    (answer,) = ask_nodes(lambda: time.sleep(60)).values()
    assert isinstance(answer, TimeoutError)
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.0)
    assert nodes_apart(Storage(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == [], "nothing stays behind"


def test_a_node_that_does_not_share_the_folder_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a node may meet there, on a node that does share it: another folder, none, and an error of its own."""
    storage = Storage(tmp_path)
    assert nodes_apart(storage) == {}
    elsewhere = Storage(tmp_path / "elsewhere")
    probe = shared_storage._probe

    def in_another(uri: str, folder: str) -> Callable[[], str]:
        elsewhere.write_bytes(f"{folder}/driver", folder.encode())
        return probe(elsewhere.uri, folder)

    met = {
        "writes into another folder of that name": in_another,
        "does not see what this machine writes there": lambda uri, folder: probe(f"{uri}/other", folder),
        "did not answer: ": lambda uri, folder: lambda: 1 // 0,
    }
    for reason, question in met.items():
        monkeypatch.setattr(shared_storage, "_probe", question)
        ((node, found),) = nodes_apart(storage).items()
        assert node.startswith("node ")
        assert found.startswith(reason), found
