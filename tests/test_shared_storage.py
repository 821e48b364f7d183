"""Nodes are asked whether they share the run directory; a slow answer is not taken for a no."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stg_ray import cluster
from stg_ray.cluster import ask_nodes
from stg_ray.shared_storage import nodes_apart
from stg_ray.storage import Storage

pytestmark = pytest.mark.usefixtures("ray_session")


def test_a_slow_node_is_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.3)
    (answer,) = ask_nodes(lambda: time.sleep(60)).values()
    assert isinstance(answer, TimeoutError)
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.0)
    assert nodes_apart(Storage(tmp_path)) == {}
    assert list(tmp_path.iterdir()) == [], "nothing stays behind"


def test_a_node_that_cannot_write_there_is_named_with_the_reason(tmp_path: Path) -> None:
    assert nodes_apart(Storage(tmp_path)) == {}

    def question() -> str:
        raise PermissionError(13, "Permission denied", "/shared")

    ((node, answer),) = ask_nodes(question).items()
    assert node.startswith("node ")
    assert "Permission denied" in str(answer)
