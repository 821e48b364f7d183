"""Running the program as users do: a process of its own, watched with all its descendants."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def without_ray() -> dict[str, str]:
    """The environment without Ray's variables: the tests' own Ray must not be joined, nor its settings inherited."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}


QUICK_TO_NOTICE = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""Ray's own values are 5 s, 3 s and 5: a cluster takes a quarter of a minute to see that a node is dead."""


PATIENCE = 400.0
"""Seconds that a program may take where nothing is said about its time: on a machine that is shared it takes many times
as long as it needs."""

_running: list[Program] = []


def end_programs() -> None:
    """End the programs that a test which failed has left: they take the processors of the next one."""
    while _running:
        with _running.pop().process as process:
            process.kill()


def kill_a_worker(folder: Path, files: str, worker: str, killed: list[int], *, n_files: int = 1) -> None:
    """Kill a process of Ray's, by a part of its name, when `folder` has so many files of a pattern; note its number."""
    deadline = time.monotonic() + PATIENCE
    while len(list(folder.glob(files))) < n_files:
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
    *_, last = (process for process in psutil.Process().children(recursive=True) if worker in process.name())
    last.kill()
    killed.append(last.pid)


class Program:
    """A running `stg-ray` in a session of its own, so that it can be interrupted like in a terminal."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stg_ray", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env or without_ray(),
                cwd=cwd,
                start_new_session=True,
                # Tests that run in the background of a script inherit that Ctrl-C is ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        _running.append(self)
        self.seen: set[psutil.Process] = set()
        self.peak_rss = 0

    @property
    def output(self) -> str:
        return self.log.read_text()

    def watch(self) -> None:
        """Note the descendants there are, and the memory that they and the program take together."""
        try:
            own = psutil.Process(self.process.pid)
            family = [own, *own.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self.seen.update(family)
        total = 0
        for member in family:
            try:
                total += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        self.peak_rss = max(self.peak_rss, total)

    def wait(self, timeout: float = PATIENCE) -> int:
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running after {timeout} s:\n{self.output}"
            self.watch()
            time.sleep(0.2)
        return self.process.returncode

    def wait_until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"nothing after {timeout} s:\n{self.output}"
            self.watch()
            time.sleep(0.02)

    def interrupt(self) -> tuple[int, float]:
        """Ctrl-C, as a terminal sends it to the whole group: exit code, and seconds until the end."""
        self.watch()
        began = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.wait(60)
        return code, time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL of the program alone: nothing is tidied up by it."""
        self.watch()
        self.process.kill()
        self.process.wait()

    def left_behind(self) -> list[psutil.Process]:
        """Descendants that are still there: those that Linux ends with the program take a moment."""
        psutil.wait_procs(self.seen, timeout=0.5)
        return [p for p in self.seen if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
