"""A run directory has one owner at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from stg_ray.artifacts import lease
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError, StgRayError
from tests.support.object_store import ObjectStore

CONFIG = load_config({"data": {"npz": "mine.npz"}})

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


def test_removing_the_lease_lets_nobody_in(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path), RunDir(tmp_path)
    with first.lease():
        first.delete(".lease")
        with pytest.raises(InputError, match="in use by another process"), second.lease():
            pass
        first.check_owner()


def test_where_folders_have_no_locks_a_removed_lease_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_lock_folder", lambda descriptor: False)
    first, second = RunDir(tmp_path), RunDir(tmp_path)
    with first.lease():
        first.check_owner()
        first.delete(".lease")
        with (
            second.lease(),
            pytest.raises(StgRayError, match=r"is not this process's any more: its \.lease was removed"),
        ):
            first.check_owner()


def test_a_run_whose_folder_is_exchanged_stops(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.check_writable()
    with run.lease():
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(StgRayError, match="this one stops here"):
            run.write_config(CONFIG)
        assert not (tmp_path / "run").exists()


@pytest.fixture(params=["folder", "s3"])
def uri(request: pytest.FixtureRequest) -> str:
    """A place without locks: an object store, and a folder that says it is one."""
    if request.param == "s3":
        store: ObjectStore = request.getfixturevalue("object_store")
        return store.uri(uuid.uuid4().hex)
    folder: Path = request.getfixturevalue("tmp_path")
    (folder / ".stages").mkdir()  # object stores have no folders to make
    return str(folder)


def opened(uri: str) -> RunDir:
    run = RunDir(uri)
    run.is_local = False
    return run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(lease, "CLAIM_SECONDS", 0.2)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on this process is on another machine, where nothing is known of the processes of the first."""
    return lambda: monkeypatch.setattr(lease, "_machine", lambda: "another")


@pytest.mark.usefixtures("quick")
def test_a_lease_without_locks_holds_while_it_is_renewed(uri: str, elsewhere: Callable[[], None]) -> None:
    run = opened(uri)
    with run.lease():
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "), opened(uri).lease():
            pass
        elsewhere()
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "), opened(uri).lease():
            pass
        run.check_owner()
    assert not run.exists(".lease")


@pytest.mark.usefixtures("quick")
def test_a_dead_owner_is_known_without_clocks(uri: str, elsewhere: Callable[[], None]) -> None:
    """By its process on the same machine; from another machine by what does not change, whatever time it claims."""
    run = opened(uri)
    with run.lease():
        owner = run.read_json(".lease")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for own in (owner | {"pid": dead.pid}, owner | {"started": 0.0}):
        run.write_json(".lease", own)
        began = time.monotonic()
        with run.lease():
            assert run.read_json(".lease")["token"] != owner["token"]
        assert time.monotonic() - began < lease.LEASE_SECONDS
    run.write_json(".lease", owner | {"renewed": time.time() + 1000})  # a clock that is ahead
    elsewhere()
    with run.lease():
        pass


@pytest.mark.usefixtures("quick")
def test_an_owner_that_slept_cannot_mark_what_another_has_begun(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 300.0)  # it does not notice while it sleeps
    stale, new = opened(uri), opened(uri)
    stale.write_config(CONFIG)
    with suppress(StgRayError), stale.lease():
        assert stale._owner is not None
        stale.begin("parts", CONFIG)
        new.delete(".lease")
        with new.lease():
            new.begin("parts", CONFIG)
            for late in (stale.begin, partial(stale.mark_done, seconds=0.0)):
                with pytest.raises(StgRayError, match="is not this process's any more"):
                    late("parts", CONFIG)
            monkeypatch.setattr(stale._owner, "_is_lost", lambda: False)  # it looked just before it was taken over
            with pytest.raises(StgRayError, match="was begun by another process meanwhile"):
                stale.mark_done("parts", CONFIG, 0.0)
            stale.write_json(".stages/parts.json", {**new.read_json(".stages/parts.begun.json"), "owner": "stale"})
            assert not new.is_done("parts", CONFIG), "a marker counts only beside the beginning of the same owner"
            new.mark_done("parts", CONFIG, 0.0)
            assert new.is_done("parts", CONFIG)


@pytest.mark.usefixtures("quick")
def test_an_owner_that_is_taken_over_stops_in_the_middle(uri: str) -> None:
    run = opened(uri)

    def work() -> None:
        with run.lease():
            run.write_json(".lease", {"token": "another"})
            time.sleep(30)

    # A shell's background jobs ignore SIGINT, by which the owner is stopped.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StgRayError, match="is not this process's any more"):
            work()
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.read_json(".lease") == {"token": "another"}, "which is not its to remove"
