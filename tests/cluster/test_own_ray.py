"""A Ray of the program's own: who can reach it, who can read its files, and what is left of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT

from stg_ray.cluster import keeper
from stg_ray.cluster.machine import missing_for_ray
from stg_ray.cluster.own_ray import MARK, check_limits, remove_leftovers, start_patiently
from stg_ray.errors import InputError, StgRayError
from tests.support.processes import PATIENCE, without_ray

LOOK = """
import json, os, stat, psutil, ray
from pathlib import Path
from stg_ray.cluster.own_ray import _session_folder
from stg_ray.cluster.session import session

with session(None):
    ray.get(ray.remote(lambda: 1).remote())
    folder = _session_folder()
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c.laddr for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    actor = ray.remote(type("Actor", (), {"work": lambda self: 1})).remote()
    ray.get(actor.work.remote())  # in a worker of its own, with which Ray opens its folders to all
    around = [place for place in (folder, *folder.parents) if not stat.S_IMODE(place.stat().st_mode) & 0o077]
closed = [place.name for place in around]
heard, ports = sorted({own.ip for own in listening}), [own.port for own in listening]
print(json.dumps({"heard": heard, "ports": ports, "closed": closed, "left": folder.exists()}))
"""


@pytest.mark.slow
def test_it_listens_on_loopback_only_and_keeps_its_files_to_its_user() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=without_ray(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["ports"]) > 5, "the agents, the workers, the raylet"
    assert DEFAULT_DASHBOARD_AGENT_LISTEN_PORT not in found["ports"], "another Ray may have it"
    assert {ip.removeprefix("::ffff:") for ip in found["heard"]} <= {"127.0.0.1", "::1"}
    assert f"sr-{os.getuid()}" in found["closed"]
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


def test_a_start_that_fails_for_want_of_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own processes end without it, and Ray says that it timed out."""
    assert missing_for_ray() == []
    monkeypatch.setattr("time.sleep", lambda _: None)
    wanted = ["click>=7.0", "not-here>=1; extra == 'default'", "other; extra == 'serve'", "old; python_version < '3'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda _: wanted)
    assert missing_for_ray() == ["not-here"]

    def start() -> None:
        raise Exception("The current node timed out during startup.")

    message = (
        r"packages that it needs are missing, not-here: pip install 'ray\[default,train,tune\]'\); nothing is lost"
    )
    with pytest.raises(StgRayError, match=message):
        start_patiently(start, lambda: None)


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


KILLED = """
import time
import ray
from stg_ray.cluster.session import session
with session(None):
    ray.get(ray.remote(lambda: 1).remote())
    print(ray._private.worker._global_node.get_session_dir_path(), flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
def test_a_killed_program_leaves_neither_processes_nor_files_for_long() -> None:
    with psutil.Popen([sys.executable, "-c", KILLED], env=without_ray(), stdout=subprocess.PIPE, text=True) as program:
        folder = Path(program.stdout.readline().strip())
        family = program.children(recursive=True)
        program.kill()
    assert len(family) > 5
    assert folder.parent.name == "ray"
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, "Ray's own agents would stay for a minute"
    assert not folder.exists()


def test_only_processes_that_write_to_a_session_are_its_own(tmp_path: Path) -> None:
    session = tmp_path / "ray" / f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    session.mkdir(parents=True)
    code = "import sys; file = open({!r}, {!r}); print(flush=True); sys.stdin.read()  # /ray/"
    log = session / "agent.log"
    log.touch()
    programs: list[subprocess.Popen[bytes]] = []
    try:
        for file, mode in ((log, "a"), (log, "r"), (tmp_path / "another.log", "a")):
            command = [sys.executable, "-c", code.format(str(file), mode)]
            programs.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            programs[-1].stdout.readline()  # type: ignore[union-attr]
        found = {process.pid for process in keeper.processes_of([os.path.realpath(session)])}
        assert found == {programs[0].pid}
    finally:
        for program in programs:
            with program:
                program.kill()


def test_sessions_of_other_programs_and_earlier_ones_are_left_alone(tmp_path: Path) -> None:
    names = ("2026-01-01_00-00-00_000000_7", "2026-01-02_00-00-00_000000_7", "2026-01-02_00-00-00_000000_77")
    for name in names:
        (tmp_path / "ray" / f"session_{name}").mkdir(parents=True)
    keeper.clean_up(7, str(tmp_path), "session_2026-01-01_12-00-00_000000")
    assert {path.name for path in (tmp_path / "ray").iterdir()} == {f"session_{names[0]}", f"session_{names[2]}"}


FORKED = """
import os, sys, time
from datetime import datetime
from pathlib import Path
from stg_ray.cluster import keeper
from stg_ray.cluster.keepers import start_keeper
start_keeper(sys.argv[1])
folder = Path(sys.argv[1], "ray", datetime.now().strftime(keeper.NAME) + f"_{os.getpid()}")
folder.mkdir(parents=True)
if (child := os.fork()) == 0:
    time.sleep(60)
print(folder, child, flush=True)
time.sleep(60)
"""


def test_a_process_that_the_program_forked_keeps_nothing_alive(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        name, child = program.stdout.readline().split()
        assert Path(name).exists()
        program.kill()
    try:
        end = time.monotonic() + 30
        while Path(name).exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert not Path(name).exists(), "the process beside the program has seen its end"
        assert psutil.pid_exists(int(child)), "it is none of Ray's"
    finally:
        psutil.Process(int(child)).kill()
