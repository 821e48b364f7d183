"""A session that is begun ahead, and what is said of an exception that Ray hands on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from stg_ray import imports
from stg_ray.cluster.calls import root_cause
from stg_ray.cluster.ray_messages import in_brief
from tests.support.processes import PATIENCE, without_ray


class OfRay(Exception):
    """An exception of Ray's: the traceback of the worker is text."""


def text_of(*files: str) -> str:
    steps = "".join(f'  File "{file}", line {number}, in f{number}\n' for number, file in enumerate(files))
    return f"Training failed:\nTraceback (most recent call last):\n{steps}ValueError: late"


def test_the_place_in_the_users_code_is_named() -> None:
    error = OfRay(text_of(imports.__file__, "/home/me/mine.py", np.__file__))
    error.__cause__ = ValueError("late")
    assert root_cause(error) == "late (/home/me/mine.py, line 1, in f1)"


def test_where_none_of_the_code_is_the_users_there_is_no_place() -> None:
    of_ours = str(Path(imports.__file__).with_name("training") / "trainer.py")
    assert root_cause(OfRay(text_of(of_ours, np.__file__))) == "ValueError: late"
    assert root_cause(OfRay("")) == "OfRay"


def test_messages_of_ray_are_a_line_each_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Ray prints them where it is to print nothing: of a lost node twice, with the last lines of its log."""
    from ray._private import worker

    before = worker.print_to_stdstream
    lost = (
        "Raylet is terminated. Termination is unexpected. Possible reasons include: (1) SIGKILL by the user or system "
        "OOM killer. Last 20 lines of the Raylet logs:\n    [state-dump] ray::rpc - 2 total\n"
    )
    with in_brief():
        for _ in range(2):
            worker.print_to_stdstream({"lines": [lost], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    assert capsys.readouterr() == ("", "Ray says: Raylet is terminated. Termination is unexpected.\n")
    assert worker.print_to_stdstream is before


AHEAD = """
import json, os, sys, time
from stg_ray.cluster.own_ray import descendants
from stg_ray.cluster.session import is_elsewhere, session, starting_ahead

found = {}
with starting_ahead(None):
    began = time.monotonic()
    import ray
    while time.monotonic() < began + 60 and not ray.is_initialized():
        time.sleep(0.1)
    found["elsewhere"] = is_elsewhere(None)
    found["pids"] = [process.pid for process in descendants()]
    if "taken" in sys.argv:
        with session(None):
            found["works"] = ray.get(ray.remote(lambda: 1).remote())
            time.sleep(2)  # Ray's processes outlive the thread that has started them
            found["still"] = ray.get(ray.remote(lambda: 2).remote())
        found["after"] = ray.is_initialized(), len(descendants())
print(json.dumps(found), flush=True)
os._exit(2)  # as the command line ends
"""


@pytest.mark.slow
@pytest.mark.parametrize("taken", [True, False])
def test_a_ray_that_is_begun_ahead_is_the_sessions_own_and_ends(taken: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, *["taken"] * taken],
        env=without_ray(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    pids = found.pop("pids")
    assert len(pids) > 3
    in_session = {"works": 1, "still": 2, "after": [False, 0]} if taken else {}
    assert found == {"elsewhere": False, **in_session}
    until = time.monotonic() + 20
    while time.monotonic() < until and any(map(psutil.pid_exists, pids)):
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids)), "none outlives the program"
