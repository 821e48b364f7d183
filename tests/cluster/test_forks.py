"""Workers that are forked are as those that Ray starts, and start whatever becomes of the fork server."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from stg_ray.cluster import fork_client, fork_server, forks
from stg_ray.cluster.fork_client import ADDRESS, CONTEXT, OF_RAY, variables_of
from tests.support.processes import PATIENCE, without_ray

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked on Linux only")

STATE = """
import json, os, signal, sys, threading
from pathlib import Path

def state():
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return {
        "arguments": [word for word in sys.argv if "worker-id" not in word and "launch-time" not in word],
        "environment": {k: v for k, v in os.environ.items() if k not in ("PYTHONHASHSEED", "SHLVL", "_", "LC_CTYPE")},
        "folders of modules": sys.path,
        "directory": os.getcwd(),
        "mask": status["Umask"].strip(),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "first to go": open("/proc/self/oom_score_adj").read().strip(),
        "blocked": sorted(int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "handlers": {n.name: str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()
                     if isinstance(n, signal.Signals) and n not in (signal.SIGKILL, signal.SIGSTOP)},
        "ignored": status["SigIgn"].strip(),
        "main": sys.modules["__main__"].__name__,
        "flags": [getattr(sys.flags, name) for name in ("safe_path", "no_site", "dev_mode", "isolated", "optimize")],
        "files": sorted(name for name in os.listdir("/proc/self/fd") if int(name) < 3),
        "limits": open("/proc/self/limits").read(),
        "of the user": status["Uid"].strip(),
    }
"""
WRITES = STATE + "\nPath(sys.argv[1]).write_text(json.dumps(state() | {'parent': os.getppid(), 'pid': os.getpid()}))\n"


def at(name: str) -> str:
    """An address and a secret of these tests, in this process."""
    return f"stg_ray-test-{os.getpid()}-{name}:a secret"


@contextmanager
def served(address: str, *modules: str) -> Iterator[subprocess.Popen[bytes]]:
    """A fork server without Ray."""
    what = json.dumps([sys.path, modules, []])
    name, _, secret = address.partition(":")
    command = [sys.executable, fork_server.__file__, name, str(os.getpid()), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdin is not None
        server.stdin.write(f"{secret}\n".encode())
        server.stdin.flush()
        while server.poll() is None:
            with suppress(OSError), fork_client.connected(address):
                break
            time.sleep(0.01)
        try:
            yield server
        finally:
            server.kill()


def asked(tmp_path: Path, address: str, *, context: str | None = None, **settings: Any) -> dict[str, Any]:
    """What a program says of itself that the client has started."""
    program, out = tmp_path / "program.py", tmp_path / "out.json"
    program.write_text(WRITES)
    out.unlink(missing_ok=True)
    setup = tmp_path / "setup.py"
    setup.write_text("import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:3]])")
    command = [sys.executable, fork_client.__file__, str(program), str(out), f"--worker-id={out}"]
    command += [] if context is None else ["--language=PYTHON", CONTEXT + context]
    environment = os.environ | {ADDRESS: address, OF_RAY: str(setup)}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE, check=False, **settings)
    assert done.returncode == 0, done.stderr
    for _ in range(1000):  # the client ends when the fork is there
        if out.exists() and out.stat().st_size:
            break
        time.sleep(0.1)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("interrupts", [signal.default_int_handler, signal.SIG_IGN])
def test_a_fork_is_as_a_process_that_was_started(interrupts: Any, tmp_path: Path) -> None:
    def before() -> None:
        signal.signal(signal.SIGINT, interrupts)
        os.nice(3)
        os.umask(0o027)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, 600))

    (tmp_path / "else where").mkdir()
    settings: dict[str, Any] = {"cwd": tmp_path / "else where", "preexec_fn": before}
    context = json.dumps({"env_vars": {"SOME_VARIABLE": "with a space, ü"}})
    with served(at("state")) as server:
        fork = asked(tmp_path, at("state"), context=context, **settings)
    plain = asked(tmp_path, at("no-server"), context=context, **settings)
    assert fork.pop("parent") == server.pid
    assert plain.pop("parent") != server.pid
    assert fork.pop("pid") != plain.pop("pid")
    assert fork["environment"].pop("SOME_VARIABLE") == "with a space, ü"
    for one in (fork, plain):  # Ray's own script, which sets the variables, is not the one of this test
        one["environment"].pop(ADDRESS)
    assert fork == plain


def test_a_worker_of_ray_is_as_one_that_ray_starts(ray_session: None) -> None:
    import ray

    def of_worker(text: str) -> tuple[dict[str, Any], int, bool]:
        names: dict[str, Any] = {}
        exec(text, names)
        return names["state"](), os.getppid(), "torch" in sys.modules

    ask = ray.remote(of_worker)
    variables = {"SOME_VARIABLE": "1"}
    fork, parent, has_torch = ray.get(ask.options(runtime_env={"env_vars": variables}).remote(STATE))
    # Of this variable a Python that runs already would take no notice.
    plain, other, not_yet = ray.get(
        ask.options(runtime_env={"env_vars": variables | {"PYTHONHASHSEED": "0"}}).remote(STATE), timeout=PATIENCE
    )
    (server,) = forks._servers
    assert (parent, has_torch) == (server.pid, True)
    assert other != server.pid
    assert not not_yet
    for one in (fork, plain):
        one["arguments"] = [word for word in one["arguments"] if "runtime-env" not in word]
    assert fork == plain
    niced = min(os.nice(0) + 15, 19)  # Ray adds to what it was started with
    assert (fork["priority"], fork["first to go"]) == (niced, "1000"), "as Ray sets them"


def test_forks_draw_different_numbers(ray_session: None) -> None:
    import ray

    def drawn() -> tuple[Any, ...]:
        import random
        import uuid

        import numpy as np
        from ray._raylet import UniqueID

        return os.getpid(), random.random(), uuid.uuid4(), np.random.default_rng().random(), UniqueID.from_random()

    class Drawing:
        draw = staticmethod(drawn)

    actors = [ray.remote(num_cpus=0)(Drawing).remote() for _ in range(4)]
    for own in zip(*ray.get([actor.draw.remote() for actor in actors]), strict=True):
        assert len(set(own)) == 4


DRAWS = """
import sys
from ray._raylet import UniqueID
from stg_ray.cluster.fork_server import check_draws
if sys.argv[1] == "used":
    UniqueID.from_random()
check_draws()
"""


@pytest.mark.parametrize("used", [False, True])
def test_a_generator_that_was_used_before_the_fork_is_found(used: bool) -> None:
    command = [sys.executable, "-c", DRAWS, "used" if used else "new"]
    done = subprocess.run(command, env=without_ray(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ("Ray's generator was used before the fork" in done.stderr) == used, done.stderr
    assert (done.returncode != 0) == used


@pytest.mark.parametrize(
    ("context", "variables"),
    [
        (None, {}),
        ({}, {}),
        ({"env_vars": {"A": "1"}, "command_prefix": [], "java_jars": [], "py_executable": sys.executable}, {"A": "1"}),
        ({"env_vars": {"PYTHONPATH": "/somewhere"}}, None),
        ({"env_vars": {"LD_PRELOAD": "/some.so"}}, None),
        ({"env_vars": {"OMP_NUM_THREADS": "32"}}, None),
        ({"env_vars": {"PATH": "/my/bin:${PATH}"}}, None),
        ({"py_executable": "/another/python"}, None),
        ({"command_prefix": ["cd", "/somewhere", "&&"]}, None),
        ({"override_worker_entrypoint": "/a/worker.py"}, None),
        ({"something": "of a later version"}, None),
    ],
)
def test_what_a_fork_cannot_have_is_left_to_ray(context: dict[str, Any] | None, variables: dict[str, str]) -> None:
    assert variables_of(None if context is None else json.dumps(context)) == variables


def test_a_server_whose_modules_start_threads_does_not_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with_a_thread.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with served(at("threads"), "with_a_thread") as server:
        assert asked(tmp_path, at("threads"))["parent"] != server.pid
        assert server.stderr is not None
        assert b"a process with threads cannot be forked" in server.stderr.read()


def test_a_module_that_is_not_there_is_left_to_who_needs_it(tmp_path: Path) -> None:
    with served(at("module"), "no_such_module") as server:
        assert asked(tmp_path, at("module"))["parent"] == server.pid


def test_a_killed_server_is_done_without(tmp_path: Path) -> None:
    with served(at("killed")) as server:
        assert asked(tmp_path, at("killed"))["parent"] == server.pid
        server.kill()
        server.wait()
        assert asked(tmp_path, at("killed"))["parent"] != server.pid


def test_a_request_of_a_client_that_has_given_up_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fork_client, "ANSWER_SECONDS", 1.0)
    monkeypatch.setenv(ADDRESS, at("stopped"))
    program = tmp_path / "program.py"
    program.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with served(at("stopped")) as server:
        server.send_signal(signal.SIGSTOP)
        assert not fork_client.handed_over([str(program)], dict(os.environ)), "it is started by who has asked"
        server.send_signal(signal.SIGCONT)
        assert asked(tmp_path, at("stopped"))["parent"] == server.pid
        psutil.wait_procs(psutil.Process(server.pid).children(), timeout=10)  # the last one may still be ending
        assert not psutil.Process(server.pid).children()
    assert not (tmp_path / "ran").exists()


def test_who_was_not_told_the_secret_is_not_answered(tmp_path: Path) -> None:
    with served(at("secret")) as server:
        for wrong in ("another", "a secrez", ""):
            assert asked(tmp_path, at("secret").replace("a secret", wrong))["parent"] != server.pid
        assert asked(tmp_path, at("secret"))["parent"] == server.pid


def test_a_folder_that_is_gone_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.setenv(ADDRESS, at("gone"))
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with served(at("gone")):
        assert not fork_client.handed_over(["never"], {})


def test_what_is_no_text_among_the_folders_of_modules_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [Path("somewhere"), *sys.path])
    monkeypatch.setattr(forks, "_servers", [])
    monkeypatch.delenv(ADDRESS, raising=False)
    try:
        assert forks.start()
    finally:
        forks.end()


ENDS = """
import os, sys, time
from stg_ray.cluster import fork_client, forks
forks.start()
while sys.argv[1] == "paused":
    try:
        fork_client.connected(os.environ[fork_client.ADDRESS]).close()
    except OSError:
        time.sleep(0.01)
    else:
        break
if sys.argv[1] == "paused":
    forks.pause()
print(forks._servers[0].pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["serving", "paused"])
def test_the_server_ends_with_a_killed_program(state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDS, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=without_ray()
    ) as program:
        assert program.stdout is not None
        server = psutil.Process(int(program.stdout.readline()))
        program.kill()
    _gone, alive = psutil.wait_procs([server], timeout=20)
    for process in alive:
        process.kill()
    assert not alive


WITHOUT = """
import os, sys
import ray
from stg_ray.cluster import forks
from stg_ray.cluster.session import session

with session(None):
    servers = list(forks._servers)
    for server in servers:
        server.kill()
        server.wait()
    print(len(servers), ray.get(ray.remote(lambda: os.getppid()).remote()) != os.getpid())
"""


@pytest.mark.slow
@pytest.mark.parametrize("off", [False, True])
def test_a_ray_works_without_its_server(off: bool) -> None:
    environment = without_ray() | ({forks.OFF: "1"} if off else {})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout.split() == ["0" if off else "1", "True"], done.stderr
