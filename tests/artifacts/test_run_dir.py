"""A run directory: one owner at a time, and no stale artifact passes for a fresh one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError
from tests.support.clusters import needs_mounts
from tests.support.faults import read_only

CONFIG = load_config("digits")

HOLD = textwrap.dedent("""
    import sys, time
    from stg_ray.artifacts.run_dir import RunDir
    with RunDir(sys.argv[1]).lease():
        print("held", flush=True)
        time.sleep(60)
""")


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"in use by process {owner.pid} on "), RunDir(tmp_path).lease():
        pass
    os.kill(owner.pid, signal.SIGKILL)  # nothing is tidied up: the system drops the lock
    owner.wait()
    with RunDir(tmp_path).lease():
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


def test_a_stage_is_done_for_the_configuration_that_made_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.begin("affinity", CONFIG)
    assert not run.is_done("affinity", CONFIG)
    run.mark_done("affinity", CONFIG, 1.0)
    assert run.is_done("affinity", CONFIG)
    assert run.is_done("affinity", set_values(CONFIG, ["grouping.groups=2", "profile.workers=1"]))
    assert not run.is_done("affinity", set_values(CONFIG, ["profile.epochs=2"]))


def test_half_made_artifacts_stay_for_the_same_configuration_only(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.begin("affinity", CONFIG)
    run.write_bytes("affinity/partials/landscape/train-00000.arrow", b"x")
    run.begin("affinity", CONFIG)
    assert run.exists("affinity/partials/landscape/train-00000.arrow")
    run.begin("affinity", set_values(CONFIG, ["affinity.samples=5"]))
    assert not run.exists("affinity/partials")


def test_another_checkpoint_under_the_same_name_is_another_starting_point(tmp_path: Path) -> None:
    run, checkpoint = RunDir(tmp_path / "run"), tmp_path / "mine.pt"
    config = set_values(CONFIG, [f"affinity.start={checkpoint}"])
    checkpoint.write_bytes(b"first")
    for stage in ("profile", "affinity", "group"):
        run.begin(stage, config)
        run.mark_done(stage, config, 0.1)
    run.write_bytes("affinity/partials/landscape/00000.arrow", b"x")
    checkpoint.write_bytes(b"second")
    assert [run.is_done(stage, config) for stage in ("profile", "affinity", "group")] == [True, False, False]
    run.begin("affinity", config)
    assert not run.exists("affinity/partials"), "sums at another point are not added to"


def test_forgetting_a_stage_forgets_the_later_ones(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for stage in ("profile", "affinity", "group"):
        run.begin(stage, CONFIG)
        run.mark_done(stage, CONFIG, 0.0)
    run.write_json("groups.json", {})
    run.forget_from("affinity")
    assert run.is_done("profile", CONFIG)
    assert not run.is_done("affinity", CONFIG)
    assert not run.is_done("group", CONFIG)
    assert not run.exists("groups.json")


def test_a_directory_without_a_run_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run directory \(no config.yaml"):
        RunDir(tmp_path / "none").read_config()
    Storage(tmp_path).write_bytes("config.yaml", b"data: [")
    with pytest.raises(InputError, match="not valid YAML"):
        RunDir(tmp_path).read_config()


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(tmp_path)
    storage.write_bytes("a/file", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes("a/file", b"new")
    assert storage.read_bytes("a/file") == b"old"
    assert storage.list("a") == ["file"]


def test_a_uri_that_cannot_be_opened_is_refused() -> None:
    with pytest.raises(InputError, match="nosuch://x"):
        Storage("nosuch://x")


def test_passwords_in_uris_are_refused_without_being_shown() -> None:
    with pytest.raises(InputError, match="holds a password, which would be in logs") as refused:
        RunDir("s3://key:secret@bucket/runs")
    assert "secret" not in str(refused.value)


def test_a_file_system_that_fails_for_a_moment_is_tried_again(tmp_path: Path) -> None:
    needs_mounts()
    storage = Storage(tmp_path)
    with read_only(tmp_path):
        with pytest.raises(OSError, match="Read-only file system"):
            storage.write_bytes("file", b"first", patience=0)
        writer = threading.Thread(target=storage.write_bytes, args=("file", b"second"))
        writer.start()
        writer.join(1)
        assert writer.is_alive()
    writer.join()
    assert storage.read_bytes("file") == b"second"
