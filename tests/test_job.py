"""The digits run as a job on a cluster that was started with `ray start --head`, with token authentication."""

from __future__ import annotations

import re
import shutil
import sys
import threading
import time
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.clusters import RayCluster
from tests.support.processes import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def largest(scraped: list[str], name: str, stage: str) -> float:
    """The largest value of a metric, summed over the processes that told it."""
    pattern = re.compile(rf'^ray_{name}{{[^}}]*stage="{stage}"[^}}]*}} (\S+)$', re.MULTILINE)
    return max((sum(map(float, pattern.findall(text))) for text in scraped), default=0.0)


def test_digits_as_a_job(repository: Path, tmp_path: Path) -> None:
    project, run = tmp_path / "project", tmp_path / "run"
    shutil.copytree(repository / "stg_ray", project / "stg_ray", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository / "jobs", project / "jobs")
    settings = ["--set", "profile.epochs=5", "--set", "retrain.epochs=3", "--set", "retrain.seeds=1"]
    with RayCluster(tmp_path / "cluster", cpus=2, dashboard=True, token=True) as cluster:
        submit = ("submit", "--working-dir", ".", "--", sys.executable)
        scraped: list[str] = []
        failed: list[str] = []
        ended = threading.Event()

        def scrape() -> None:
            while not ended.wait(0.5):
                try:
                    scraped.append(cluster.metrics())
                except (OSError, HTTPException, ValueError) as error:
                    failed.append(repr(error))

        thread = threading.Thread(target=scrape)
        thread.start()
        job = cluster.job(*submit, "jobs/run.py", "jobs/configs/digits.yaml", *settings, "--out", str(run), cwd=project)
        ended.set()
        thread.join()
        assert job.returncode == 0, job.stdout + job.stderr
        assert "succeeded" in job.stdout + job.stderr
        assert f"report: {run}/report.html" in job.stdout
        assert (run / "results.parquet").exists()
        (run / "report.html").unlink()
        # A client that leaves at once, and comes back when the job is done.
        leaves = ("submit", "--no-wait", "--submission-id", "later", "--working-dir", ".", "--", sys.executable)
        left = cluster.job(*leaves, "jobs/run_report.py", str(run), cwd=project)
        assert left.returncode == 0, left.stdout + left.stderr
        deadline = time.monotonic() + PATIENCE
        while "succeeded" not in (status := cluster.job("status", "later")).stdout + status.stderr:
            assert time.monotonic() < deadline, status.stdout + status.stderr
            time.sleep(1)
        assert "report    done in" in cluster.job("logs", "later").stdout
        assert (run / "report.html").exists()
        token = (tmp_path / "cluster" / ".ray" / "auth_token").read_text().strip()
        assert len(token) > 10
        for folder in (run, cluster.temporary):
            for path in folder.rglob("*"):
                assert not path.is_file() or token.encode() not in path.read_bytes(), f"the token is in {path}"
        for stage in ("parts", "profile", "affinity", "group", "retrain", "report"):
            assert f"{stage:<9} done in" in job.stdout
        assert scraped, failed
        # Ray passes on what it is told once a second: what a process says in its last one may be lost.
        assert 0 < largest(scraped, "stg_ray_samples_total", "profile") <= 5 * 1257  # every sample in every epoch
        assert 0 < largest(scraped, "stg_ray_parts_done", "affinity") <= 32
        assert 0 < largest(scraped, "stg_ray_trials_running", "retrain") <= 2
        assert token not in "".join(scraped)
        assert token not in job.stdout + job.stderr + cluster.logs()
