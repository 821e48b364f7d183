"""A Ray of the program's own: who can reach it, who can read its files, and what is left of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from stg_ray.cluster.own_ray import MARK, check_limits, remove_leftovers, start_patiently
from stg_ray.errors import InputError, StgRayError
from tests.support.processes import without_ray

LOOK = """
import json, os, stat, psutil, ray
from pathlib import Path
from stg_ray.cluster.own_ray import _session_folder
from stg_ray.cluster.session import session

with session(None):
    ray.get(ray.remote(lambda: 1).remote())
    folder = _session_folder()
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    heard = [c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    mode = stat.S_IMODE(folder.stat().st_mode)
print(json.dumps({"heard": sorted(set(heard)), "mode": mode, "left": folder.exists(), "there": len(heard)}))
"""


@pytest.mark.slow
def test_it_listens_on_loopback_only_and_keeps_its_files_to_its_user() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=without_ray(), capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["there"] > 5, "the agents, the workers, the raylet"
    assert {ip.removeprefix("::ffff:") for ip in found["heard"]} <= {"127.0.0.1", "::1"}
    assert found["mode"] == 0o700
    assert not found["left"], "it is removed at its end"


def test_a_start_that_timed_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    events: list[str] = []

    def start() -> None:
        events.append("start")
        if len(events) < 3:
            raise Exception("The current node timed out during startup.")

    start_patiently(start, lambda: events.append("clean up"))
    assert events == ["start", "clean up", "start"]


@pytest.mark.parametrize(("why", "starts"), [("The current node timed out during startup.", 3), ("no such thing", 1)])
def test_a_start_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch, why: str, starts: int) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    cleaned: list[int] = []

    def start() -> None:
        raise Exception(why)

    with pytest.raises(StgRayError, match=f"Ray did not start here .{why}.*give the same command again") as raised:
        start_patiently(start, lambda: cleaned.append(1))
    assert len(cleaned) == starts
    assert "\n" not in str(raised.value)


def test_a_limit_of_addresses_is_named() -> None:
    check_limits()
    limited = subprocess.run(
        [sys.executable, "-c", "from stg_ray.cluster.own_ray import check_limits; check_limits()"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert InputError.__name__ in limited.stderr
    assert "8.0 GiB of addresses (ulimit -v 8388608), and Ray needs 16: give ulimit -v unlimited" in limited.stderr


def test_leftovers_of_killed_programs_are_removed_and_others_stay(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    for number, marked in ((ended.pid, True), (os.getpid(), True), (ended.pid, False)):
        folder = tmp_path / "ray" / f"session_2026-01-01_00-00-0{int(marked)}_000000_{number}"
        folder.mkdir(parents=True)
        (folder / "logs").mkdir()
        if marked:
            (folder / MARK).touch()
    remove_leftovers({"RAY_TMPDIR": str(tmp_path)})
    left = {file.name.rpartition("_")[2] for file in (tmp_path / "ray").iterdir()}
    assert left == {str(os.getpid()), str(ended.pid)}
    assert len(list((tmp_path / "ray").iterdir())) == 2, "those of somebody else's program stay"
