"""Files appear whole or not at all, and survive a file system that fails for a moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.errors import InputError
from tests.support.clusters import needs_mounts
from tests.support.faults import read_only


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
    for uri in ("s3://key:secret@bucket/runs", "s3://bucket/runs?access_key=key&secret_key=secret&region=r"):
        with pytest.raises(InputError, match="holds credentials in its address, which would stand in files") as refused:
            RunDir(uri)
        assert "key:" not in str(refused.value)
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
