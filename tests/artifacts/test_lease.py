"""A run directory has one owner at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.errors import InputError

HOLD = textwrap.dedent("""
    import sys, time
    from stg_ray.artifacts.run_dir import RunDir
    with RunDir(sys.argv[1]).lease():
        print("held", flush=True)
        time.sleep(60)
""")


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"in use by process {owner.pid} on "), RunDir(tmp_path).lease():
            pass
        os.kill(owner.pid, signal.SIGKILL)  # nothing is tidied up: the system drops the lock
    with RunDir(tmp_path).lease():
        pass


def test_a_link_in_the_place_of_the_lease_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".lease").symlink_to(precious)
    with pytest.raises(InputError, match="is no plain file, and would be written to"), RunDir(run).lease():
        pass
    assert precious.read_text() == "keep me"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_in_the_place_of_the_lease_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lease")
    with pytest.raises(InputError, match="is no plain file"), RunDir(tmp_path).lease():
        pass


def test_a_lease_on_an_object_store_holds_while_it_is_renewed(tmp_path: Path) -> None:
    run = _as_object_store(tmp_path)
    with run.lease():
        with pytest.raises(InputError, match="in use by process"), _as_object_store(tmp_path).lease():
            pass
        owner = run.read_json(".lease")
    assert not run.exists(".lease")
    run.write_json(".lease", owner | {"renewed": owner["renewed"] - 1000})  # its owner died long ago
    with run.lease():
        assert run.read_json(".lease")["token"] != owner["token"]


def _as_object_store(path: Path) -> RunDir:
    run = RunDir(path)
    run.is_local = False
    return run
