"""A node that is lost while an elastic profile runs; see test_fault_matrix.py for the other faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.data_maps.state import DataMapState
from tests.support.processes import PATIENCE, QUICK_TO_NOTICE, without_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def states(run: Path) -> list[DataMapState]:
    dataset = sr.DataMap(str(run)).dataset()
    return [DataMapState.from_batch(batch) for batch in dataset.to_batches()]


LOSE_A_NODE = """
import json, sys, threading, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

import stg_ray as sr
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS

run = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
removed = threading.Event()


def remove() -> None:
    while not removed.is_set():
        try:
            state = json.loads((run / "profile" / "progress.json").read_text())
        except (OSError, ValueError):
            state = {"done": 0, "total": 1}
        if state["done"] > 0.2 * state["total"]:
            cluster.remove_node(second, allow_graceful=False)
            removed.set()
        time.sleep(0.05)


thread = threading.Thread(target=remove, daemon=True)
thread.start()
config = sr.load_config("digits", ["profile.epochs=60", "profile.workers=[1, 2]"])
sr.run(config, str(run), until="profile")
assert removed.is_set(), "the node was there until the end"
print("nodes at the end:", sum(node["Alive"] for node in ray.nodes()), flush=True)
ray.shutdown()
cluster.shutdown()
"""


def test_a_lost_node_costs_an_epoch(tmp_path: Path) -> None:
    """Two workers on two nodes; one goes, and the run ends with one worker. Every sample is still visited once per
    epoch: the counts say so."""
    (tmp_path / "lose_a_node.py").write_text(LOSE_A_NODE)
    run = tmp_path / "run"
    env = without_ray() | QUICK_TO_NOTICE
    env["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "15"  # of a group for which there is no room any more
    program = [sys.executable, str(tmp_path / "lose_a_node.py"), str(run)]
    ended = subprocess.run(program, env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nodes at the end: 1" in ended.stdout
    counts = np.concatenate([state.count for state in states(run)])
    assert (counts == 60).all()
    history = sr.DataMap(str(run)).storage.read_parquet("profile/metrics.parquet").to_pandas()
    assert sorted(set(history["epoch"])) == list(range(1, 61))
    assert history[history["epoch"] == 60]["loss"].mean() < history[history["epoch"] == 1]["loss"].mean()
