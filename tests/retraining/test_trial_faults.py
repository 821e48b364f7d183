"""Trials' processes and nodes that die while networks are trained, on simulated clusters of one and three nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PATIENCE, QUICK_TO_NOTICE, without_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TRUNK = """
import json, os, time
from pathlib import Path

import ray
import torch

SEEN = Path(__file__).parent / "seen"


class Watched(torch.nn.Module):
    # Slow until the fault, and notes in a file of its process on which node and from when to when it is trained.
    def forward(self, inputs):
        if self.training and ray.is_initialized():
            name, now = SEEN / str(os.getpid()), time.time()
            if not hasattr(self, "first"):
                known = json.loads(name.read_text()) if name.exists() else {"first": now}
                self.first, self.node = known["first"], ray.get_runtime_context().get_node_id()
            temporary = SEEN / f".{os.getpid()}"
            temporary.write_text(json.dumps({"first": self.first, "last": now, "node": self.node}))
            temporary.rename(name)
            if not (SEEN / "struck").exists():
                time.sleep(0.05)
        return inputs


def watched(input_shape):
    return Watched()
"""

SCRIPT = """
import json, os, shutil, signal, sys, threading, time
from pathlib import Path

import numpy as np
import ray
import torch
from ray.cluster_utils import Cluster
from rich.console import Console

import stg_ray as sr
from stg_ray.cluster.session import OWN_RAY_SETTINGS, RAY_SETTINGS
from stg_ray.data.parts import write_parts
from stg_ray.artifacts.groups import Groups
from stg_ray.progress import StageProgress
from stg_ray.grouping import group_tasks
from stg_ray.retraining.stage import run as retrain
from stg_ray.retraining.plans import make_plans, network_specs
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.trial import train_network
from stg_ray.artifacts.run_dir import RunDir

fault, n_nodes, cpus = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
here = Path(__file__).parent
(here / "seen").mkdir()
os.environ.update(RAY_SETTINGS | OWN_RAY_SETTINGS)
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": cpus, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=cpus) for _ in range(n_nodes - 1)]
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")

rng = np.random.default_rng(0)
inputs = rng.normal(size=(300, 4))
labels = (inputs[:, np.arange(8) % 4] + 0.5 * rng.normal(size=(300, 8)) > 0).astype(int)
tasks = sr.TaskSet.from_arrays(inputs, labels)
config = sr.load_config({
    "data": {"npz": "by hand"},
    "model": {"trunk": "trunk:watched"},
    "retrain": {"epochs": 20, "batch_size": 16, "plans": ["ours"], "seeds": 2, "lr": 0.005,
                "weight_decay": 1e-4},
})


def run_in(name):
    run = RunDir(here / name)
    run.write_config(config)
    write_parts(tasks, run.sub("parts"))
    run.write_bytes("profile/network.pt", b"no plan starts from it")
    run.write_json("groups.json", Groups.from_labels(tasks.names, np.arange(8) // 2, "by hand").to_dict())
    return run


def epochs_of(run):
    # The last epoch that each unfinished network has kept.
    found = {}
    for file in Path(run.root).glob(".networks/*/checkpoint.pt"):
        try:
            found[file.parent.name] = torch.load(file, weights_only=True)["state"]["epoch"]
        except FileNotFoundError:
            pass
    return found


def now_running():
    seen = {int(f.name): json.loads(f.read_text()) for f in (here / "seen").iterdir() if f.name.isdigit()}
    return {pid: one for pid, one in seen.items() if time.time() - one["last"] < 1}


class Quiet(StageProgress):
    def update(self, done, total, unit, before=0):
        pass


run = run_in("disturbed")
struck, lost, ended = [], [], threading.Event()


def strike():
    before = {}
    while not ended.is_set():
        epochs = epochs_of(run)
        lost.extend(name for name, epoch in epochs.items() if epoch < before.get(name, 0))
        before |= epochs
        far = sum(epoch >= 3 for epoch in epochs.values())
        if not struck and far >= 2 and len(now_running()) == n_nodes * cpus:
            struck.append(sorted(now_running())[0])
            (here / "seen" / "struck").touch()
            if fault == "process":
                os.kill(struck[0], signal.SIGKILL)
            else:
                cluster.remove_node(nodes[-1], allow_graceful=False)
        time.sleep(0.02)


thread = threading.Thread(target=strike, daemon=True)
thread.start()
retrain(run, config, Quiet(Console(quiet=True), "retrain"), group_tasks=group_tasks)
ended.set()
thread.join()
seen = [json.loads(f.read_text()) for f in (here / "seen").iterdir() if f.name.isdigit()]

# The cluster may notice only after the trials are done that a node is gone.
deadline = time.monotonic() + 60
while (alive := sum(node["Alive"] for node in ray.nodes())) == n_nodes > 1 and time.monotonic() < deadline:
    time.sleep(0.5)
ray.shutdown()
cluster.shutdown()
torch.set_num_threads(1)
reference = run_in("undisturbed")
groups = Groups.from_dict(reference.read_json("groups.json"))
same = []
for spec in network_specs(make_plans(groups, tasks.tasks, config), config):
    train_network(reference, config, spec, device="cpu", report=lambda *_: None)
    scores = [r.read_json(network_folder(spec, config) + "/network.json")["scores"] for r in (run, reference)]
    same.append(scores[0] == scores[1])
print(json.dumps({
    "struck": bool(struck), "lost": lost, "seen": seen, "same": same, "nodes": alive,
    "rows": len(run.read_parquet("results.parquet")),
}), flush=True)
"""


def disturbed(folder: Path, *arguments: str) -> dict[str, Any]:
    (folder / "trunk.py").write_text(TRUNK)
    (folder / "disturbed.py").write_text(SCRIPT)
    env = without_ray() | QUICK_TO_NOTICE
    program = [sys.executable, str(folder / "disturbed.py"), *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            program, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        code = process.wait(timeout=PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing of the clusters is left behind
    output = (folder / "log").read_text()
    assert code == 0, output
    return json.loads(output.strip().splitlines()[-1])


def most_at_once(seen: list[dict[str, Any]]) -> int:
    """Largest number of processes that were training at the same moment."""
    moments = sorted([(own["first"], 1) for own in seen] + [(own["last"], -1) for own in seen])
    running = most = 0
    for _, change in moments:
        running += change
        most = max(most, running)
    return most


def test_a_killed_trial_costs_an_epoch_and_changes_nothing(tmp_path: Path) -> None:
    found = disturbed(tmp_path, "process", "1", "2")
    assert found["struck"]
    assert found["lost"] == [], "what was trained before is not trained again"
    assert found["same"] == [True] * 8
    assert found["rows"] == 8 * 2 * 2 * 5  # tasks, seeds, splits, metrics
    assert most_at_once(found["seen"]) == 2


def test_trials_run_on_three_nodes_and_a_lost_one_costs_an_epoch(tmp_path: Path) -> None:
    found = disturbed(tmp_path, "node", "3", "1")
    assert found["struck"]
    assert found["nodes"] == 2
    assert found["lost"] == []
    assert found["same"] == [True] * 8
    assert len({own["node"] for own in found["seen"]}) == 3
    assert most_at_once(found["seen"]) <= 3, "never more than there are CPUs"
