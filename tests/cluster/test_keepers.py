"""A program that is killed, or that Ray ends, is said to be: by the process beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stg_ray.cluster.keeper import LAST_WORDS
from tests.support.clusters import RayCluster
from tests.support.processes import Program, without_ray

PROGRAM = """
import os, sys, ray
from stg_ray.cluster.session import session

with session(sys.argv[1] or None):
    started = ray._private.worker._global_node.all_processes
    print(started["raylet"][0].process.pid if started else os.getpid(), flush=True)
    while True:
        ray.get(ray.put(bytes(10**6)))
"""


def ends(address: str, env: dict[str, str], code: int) -> None:
    """Run the program, kill what it names, and look at its end."""
    command = [sys.executable, "-c", PROGRAM, address]
    with subprocess.Popen(command, text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        os.kill(int(program.stdout.readline()), signal.SIGKILL)
        assert program.wait() == code
        assert program.stderr.read().splitlines()[-1] == LAST_WORDS


def test_a_program_that_ray_ends_in_the_middle_of_a_call() -> None:
    """It does where its raylet is gone."""
    ends("", without_ray(), 1)


@pytest.mark.slow
def test_a_program_that_is_killed_on_a_cluster(tmp_path: Path) -> None:
    with RayCluster(tmp_path / "cluster") as cluster:
        ends(cluster.address, cluster.env, -signal.SIGKILL)


def test_one_that_ends_by_itself_has_its_own_words(tmp_path: Path) -> None:
    """Here with a Ray that was begun ahead, which is left to the process beside it."""
    np.savez(tmp_path / "mine.npz", inputs=np.zeros((100, 4), np.float32), labels=np.full((100, 3), "?"))
    (tmp_path / "mine.yaml").write_text(f"data: {{npz: {tmp_path / 'mine.npz'}}}")
    program = Program("run", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "run"), log=tmp_path / "log")
    assert program.wait() == 2
    assert len(program.seen) > 1, "no Ray was begun"
    while program.left_behind():
        time.sleep(0.1)
    assert LAST_WORDS not in program.output
    assert program.output.splitlines()[-1].startswith("stg-ray: task 'task_0' has the label")
