"""Ctrl-C and SIGTERM end the program with 130, wherever its main thread is and whatever swallows the exception."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from textwrap import indent

import psutil
import pytest

from tests.support.processes import PATIENCE, Program, without_ray

PROGRAM = """
import os, signal, sys, threading, time, weakref
from stg_ray import interrupts
from stg_ray.cluster.calls import Call

def stop(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
    time.sleep(0.01)

signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the tests were started
interrupts.listen()
"""

IMPORTS = "the import system"
MODULE = "a module that is being imported, and ends the program at an exception"
RAY = "a bare except, with Ray started by a thread"

SWALLOWED = {
    "a weak reference's callback": """
class Thing: pass
thing = Thing()
kept = weakref.ref(thing, lambda _: stop())
del thing
""",
    "a finalizer": """
class Thing:
    def __del__(self): stop(signal.SIGINT)
Thing()
""",
    "a bare except": """
try:
    stop()
except:
    pass
""",
    IMPORTS: """
def look(frame, event, _argument):
    if frame.f_code.co_filename.startswith("<frozen importlib"):
        sys.setprofile(None)
        signal.getsignal(signal.SIGTERM)(signal.SIGTERM, frame)
        print("held back", flush=True)  # a lock would stay behind
sys.setprofile(look)
import colorsys
""",
    MODULE: r"""
import tempfile
with tempfile.TemporaryDirectory() as folder:
    sys.path.insert(0, folder)
    with open(folder + "/compiled.py", "w") as file:
        file.write("import __main__, os\ntry: __main__.stop(); __main__.time.sleep(0.2)\nexcept: os.abort()")
    import compiled
    print("held back", flush=True)
    time.sleep(5)
""",
    RAY: """
import ray
Call(
    lambda: ray.init(address="local", include_dashboard=False, logging_level=50),
    stay=threading.Event(),  # Linux ends Ray's processes with the thread that has started them
).result()
try:
    stop()
except:
    time.sleep(1)  # longer than until the first alarm
""",
}
"""What swallows an interrupt, or must not be interrupted."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + code], capture_output=True, text=True, timeout=PATIENCE, env=without_ray()
    )


@pytest.mark.parametrize("by", SWALLOWED)
def test_an_interrupt_that_is_swallowed_comes_again(by: str) -> None:
    done = run(
        f"""
try:
{indent(SWALLOWED[by], "    ")}
    Call(lambda: time.sleep(15)).result()
except KeyboardInterrupt:
    print("met", flush=True)
os._exit(0)
"""
    )
    assert done.stdout.splitlines() == (["held back"] if by in (IMPORTS, MODULE) else []) + ["met"], done.stderr


def test_the_clean_up_is_not_interrupted() -> None:
    done = run(
        """
try:
    try:
        stop()
    finally:
        stop(signal.SIGINT)
        time.sleep(1.2)
        print("cleaned up", flush=True)
except KeyboardInterrupt:
    interrupts.met()
    time.sleep(0.7)
    print("met", flush=True)
"""
    )
    assert done.stdout.splitlines() == ["cleaned up", "met"], done.stderr


def test_an_ignored_signal_stays_ignored() -> None:
    done = run("signal.signal(signal.SIGINT, signal.SIG_IGN)\ninterrupts.listen()\nstop(signal.SIGINT)\nprint('on')")
    assert done.stdout == "on\n", done.stderr


CALLS = {"puts an object": "ray.get(ray.put(bytes(10**6)))", "waits": "ray.wait([ray.put(1)], timeout=0.01)"}
"""What is asked of the raylet, whose end would be the program's."""


@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_goes_on_does_not_end_the_program(call: str) -> None:
    done = run(
        f"""
import psutil, ray
from stg_ray.cluster.session import session
from stg_ray.exits import process_ends

process_ends.set()
interrupted = threading.Event()

def work():
    while True:
        {CALLS[call]}
        if not interrupted.is_set():
            interrupted.set()
            stop()

try:
    with session(None):
        Call(work).result()
except KeyboardInterrupt:
    time.sleep(0.5)
    print(*(process.pid for process in psutil.Process().children(recursive=True)))
    os._exit(130)
"""
    )
    assert done.returncode == 130, done.stderr
    left = [psutil.Process(int(number)) for number in done.stdout.split() if psutil.pid_exists(int(number))]
    assert psutil.wait_procs(left, timeout=5)[1] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_at_any_moment_of_the_start(tmp_path: Path) -> None:
    moments = (0.2, 0.4, 0.8, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0)
    for moment, number in zip(moments, cycle([signal.SIGTERM, signal.SIGINT]), strict=False):
        out = tmp_path / str(moment)
        program = Program("run", "digits", "--out", str(out), log=tmp_path / f"{moment}.log")
        time.sleep(moment)
        program.watch()
        os.kill(program.process.pid, number)
        began = time.monotonic()
        # An import that goes on is waited for, up to a minute; torch's takes so long where others want the processors.
        assert program.wait(90) == 130, f"after {moment} s: {program.output}"
        assert "stg-ray: interrupted" in program.output
        assert "Traceback" not in program.output, f"after {moment} s: {program.output}"
        while program.left_behind():  # Ray's keeper ends what an abandoned start has left
            assert time.monotonic() - began < 120, program.left_behind()
            time.sleep(0.1)
