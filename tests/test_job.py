"""The digits run as a job on a cluster that was started with `ray start --head`, with token authentication."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RAY = str(Path(sys.executable).parent / "ray")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a client of a cluster of one node."""
    if not Path(RAY).exists():
        pytest.skip(f"no ray command beside {sys.executable}")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    env |= {"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)}
    subprocess.run([RAY, "get-auth-token", "--generate"], env=env, capture_output=True, check=True)
    dashboard = free_port()
    ports = {"port": free_port(), "dashboard-port": dashboard, "ray-client-server-port": free_port()}
    ports["dashboard-agent-listen-port"] = free_port()  # the usual one may be taken by another Ray of this machine
    start = [RAY, "start", "--head", "--block", *(f"--{name}={port}" for name, port in ports.items())]
    with (tmp_path / "head").open("w") as log:
        head = subprocess.Popen(
            [*start, "--num-cpus=2", "--disable-usage-stats"],
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        client = env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        deadline = time.monotonic() + 60
        while subprocess.run([RAY, "job", "list"], env=client, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, (tmp_path / "head").read_text()
            time.sleep(1)
        yield client
    finally:
        # Not `ray stop`: it ends every Ray of the machine, the other tests' too.
        for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()


def test_digits_as_a_job(cluster: dict[str, str], repository: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(repository / "stg_ray", project / "stg_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository / "jobs", project / "jobs")
    settings = ["--set", "profile.epochs=5", "--set", "retrain.epochs=3", "--set", "retrain.seeds=1"]
    submit = [RAY, "job", "submit", "--working-dir", ".", "--"]
    command = [sys.executable, "jobs/run.py", "jobs/configs/digits.yaml", *settings, "--out", str(tmp_path / "run")]
    for _ in range(30):
        job = subprocess.run(
            [*submit, *command], cwd=project, env=cluster, capture_output=True, text=True, check=False, timeout=240
        )
        if "No available agent" not in job.stdout + job.stderr:  # the head answers a moment before it can take jobs
            break
        time.sleep(1)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "succeeded" in job.stdout + job.stderr
    assert f"report: {tmp_path}/run/report.html" in job.stdout
    assert (tmp_path / "run" / "results.parquet").exists()
    token = (tmp_path / ".ray" / "auth_token").read_text().strip()
    assert len(token) > 10
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes(), f"the token is in {path}"
    assert token not in job.stdout + job.stderr
