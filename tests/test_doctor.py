"""Findings of `stg-ray doctor` on this machine and of clusters with and without faults."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.cluster.machine import UNUSABLE, MachineFacts
from stg_ray.doctor import check_packages, check_room
from tests.support.clusters import RayCluster, needs_mounts
from tests.support.processes import PATIENCE
from tests.test_older_runs import ARCHIVE


def examined(*arguments: str, env: dict[str, str] | None = None, cwd: Path) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "stg_ray", *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_machine_without_a_fault(tmp_path: Path) -> None:
    code, lines = examined("doctor", "--data-root", str(tmp_path), cwd=tmp_path)
    assert code == 0, lines
    assert [line.split()[0] for line in lines] == ["ok"] * 5, lines
    assert f"Python {sys.version.split()[0]}, ray {importlib.metadata.version('ray')}" in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, lines = examined("doctor", "--data-root", "file", "--out", "/proc/runs", cwd=tmp_path)
    assert code == 1
    problems = [line for line in lines if line.startswith("problem")]
    assert problems == [
        "problem  the data root file is no folder that can be read",
        "problem  no run can be kept in /proc/runs",
    ]
    assert any("cannot write to /proc" in line for line in lines)
    assert lines[-1].startswith("stg-ray: there are problems")
    missing = {**os.environ, "RAY_TMPDIR": "/tmp/not/yet"}
    code, lines = examined("doctor", "--data-root", "nowhere", cwd=tmp_path, env=missing)
    assert code == 0
    assert "warning  the data root nowhere is not there" in lines


def test_a_run_that_is_damaged(tmp_path: Path) -> None:
    """All of its files are checked: `test_corruption` has what is found."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    run = RunDir(tmp_path / "run")
    command = ("doctor", "--data-root", str(tmp_path), "--out", "run")
    code, lines = examined(*command, cwd=tmp_path)
    assert code == 0
    assert "warning  group: done by stg_ray 0.1, which noted nothing of its files" in lines
    run.mark_done("group", run.read_config(), 1.0)
    run.write_json("groups.json", {})
    code, lines = examined(*command, cwd=tmp_path)
    assert code == 1
    at = next(number for number, line in enumerate(lines) if line.startswith("problem  group: groups.json has 3 bytes"))
    assert f"stg-ray run {run.uri}/config.yaml --out {run.uri} makes it again" in lines[at + 1]


def test_nobody_at_the_address(tmp_path: Path) -> None:
    code, lines = examined("doctor", "--address", "127.0.0.1:1", cwd=tmp_path)
    assert code == 1
    assert any(line.startswith("problem  no Ray cluster answers at 127.0.0.1:1") for line in lines)
    assert examined("doctor", "--adress", "127.0.0.1:1", cwd=tmp_path)[0] == 2


def test_little_room_and_broken_packages() -> None:
    facts = MachineFacts({"torch": "2.6.0"}, cuda=False, token=True, shared_memory=2**26, disk=2**40)
    assert check_packages(facts).state == "ok"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stg_ray.doctor.missing_for_ray", lambda: ["smart-open"])
        finding = check_packages(facts)
    assert (finding.state, finding.advice) == (
        "warning",
        "Ray may not start without smart-open: pip install 'ray[default,train,tune]'",
    )
    assert "0.1 GiB of shared memory" in check_room("here", facts).text
    assert check_room("here", facts).state == "warning"
    broken = MachineFacts({"torch": f"{UNUSABLE} (OSError)"}, False, True, None, 2**40)
    assert check_packages(broken).state == "problem"
    assert check_room("here", broken).state == "ok"


@pytest.mark.slow
def test_a_cluster_whose_nodes_differ(tmp_path: Path) -> None:
    """A second node that sees another folder at the path of the run, has another torch, and offers a GPU that its torch
    does not see: the doctor says so, and a run is refused before anything is laid out."""
    needs_mounts()
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 4))
    np.savez(tmp_path / "four.npz", inputs=rng.normal(size=(60, 3)), labels=labels)
    (tmp_path / "four.yaml").write_text("data: {npz: four.npz}\n")
    runs = tmp_path / "runs"
    runs.mkdir()
    metadata = Path(importlib.metadata.distribution("torchvision").locate_file("."))
    (installed,) = metadata.glob("torchvision-*.dist-info/METADATA")
    other = tmp_path / "METADATA"
    other.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.1.2\n")
    with RayCluster(tmp_path / "cluster") as cluster:
        cluster.add_node(
            first=f"mount -t tmpfs tmpfs {runs} && mount --bind {other} {installed}", arguments=["--num-gpus=1"]
        )
        code, lines = examined("doctor", "--address", cluster.address, env=cluster.env, cwd=tmp_path)
        assert code == 1, lines
        assert any("has 2 nodes that can work" in line for line in lines)
        assert "warning  token authentication is off" in lines
        problems = "\n".join(line for line in lines if line.startswith("problem"))
        assert "has torchvision 0.1.2 (here" in problems
        assert "offers 1 GPU, but its torch sees none" in problems
        assert f"does not see what this machine writes there: {runs} is not shared" in problems
        assert problems.count("\n") == 2, problems
        assert list(runs.iterdir()) == []
        run = runs / "four"
        refused = ["run", "four.yaml", "--out", str(run), "--address", cluster.address]
        code, lines = examined(*refused, env=cluster.env, cwd=tmp_path)
        assert code == 2, lines
        assert f"not all nodes reach the run directory {run} (node" in lines[-1]
        assert "give --out a folder that all nodes mount (NFS and its like) or a bucket" in lines[-1]
        assert not (run / "parts").exists()
        shared = tmp_path / "shared"
        code, lines = examined(
            "doctor", "--address", cluster.address, "--out", str(shared), env=cluster.env, cwd=tmp_path
        )
        assert f"ok       every node reads and writes {tmp_path}" in lines
