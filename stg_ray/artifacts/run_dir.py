"""A run's directory: its configuration, which stages are done and for which configuration, and who owns it."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from stg_ray.artifacts.digests import file_digests, source_digests
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError, one_line
from stg_ray.stages import STAGES, onwards

LEASE_SECONDS = 30.0
"""A lease on an object store that was not renewed for this long is dead."""


class RunDir(Storage):
    """The directory of one run. Its artifacts are described in the README."""

    def is_done(self, stage: str, config: Config) -> bool:
        """Whether the stage's artifacts are whole and made by this configuration, from the files as they are now."""
        return self._is_by(f".stages/{stage}.json", _made_by(stage, config))

    def mark_done(self, stage: str, config: Config, seconds: float) -> None:
        begun = f".stages/{stage}.begun.json"  # a file may have changed since then
        made_by = self.read_json(begun) if self.exists(begun) else _made_by(stage, config)
        self.write_json(f".stages/{stage}.json", {**made_by, "seconds": round(seconds, 2)})
        for name in STAGES[stage].scratch:
            self.delete(name)

    def begin(self, stage: str, config: Config) -> None:
        """Make ready to run a stage: its half-made artifacts are kept only if this configuration began them."""
        marker = f".stages/{stage}.begun.json"
        made_by = _made_by(stage, config)
        if not self._is_by(marker, made_by):
            self.forget(stage)
            self.write_json(marker, made_by)
        self.delete(f".stages/{stage}.json")

    def _is_by(self, marker: str, made_by: dict[str, Any]) -> bool:
        """Whether a marker says so. A file that is not there any more is not compared."""
        if not self.exists(marker):
            return False
        found = self.read_json(marker)
        files = found.get("files", {})
        return found["config"] == made_by["config"] and all(
            files.get(key, digest) == digest for key, digest in made_by["files"].items()
        )

    def forget(self, stage: str) -> None:
        """Take a stage's artifacts away, the marker first, so that nothing half-deleted passes for done."""
        for name in (f".stages/{stage}.json", f".stages/{stage}.begun.json", *STAGES[stage].artifacts):
            self.delete(name)

    def forget_from(self, stage: str) -> None:
        """Forget a stage and every later one, the last first."""
        for later in reversed(onwards(stage)):
            self.forget(later.name)

    def has_config(self) -> bool:
        return self.exists("config.yaml")

    def check_sources(self, config: Config) -> None:
        """Refuse to go on with data or code that changed since this run began with it.

        Raises:
            InputError: the .npz file, or the module of a function or trunk, is not what it was.
        """
        current = source_digests(config)
        before = self.read_json(".stages/sources.json") if self.exists(".stages/sources.json") else {}
        changed = [key for key, digest in current.items() if before.get(key, digest) != digest]
        if changed:
            raise InputError(
                f"what {changed[0]} names has changed since {self.uri} began with it: choose another --out"
            )
        if before | current != before:
            self.write_json(".stages/sources.json", before | current)

    def write_config(self, config: Config) -> None:
        self.write_bytes("config.yaml", config.to_yaml().encode())

    def read_config(self) -> Config:
        """The configuration of this run.

        Raises:
            InputError: there is none, or it cannot be read.
        """
        if not self.has_config():
            raise InputError(f"{self.uri} is no run directory (no config.yaml in it): start one with stg-ray run")
        try:
            values = yaml.safe_load(self.read_bytes("config.yaml"))
        except yaml.YAMLError as error:
            raise InputError(f"{self.uri}/config.yaml is not valid YAML: {one_line(error)}") from error
        if not isinstance(values, dict):
            raise InputError(f"{self.uri}/config.yaml holds no configuration")
        return load_config(values)

    def check_writable(self) -> None:
        """Create the directory if need be and write to it once.

        Raises:
            InputError: it cannot be written to.
        """
        name = f".probe-{uuid.uuid4().hex}"
        try:
            if self.is_local:
                os.makedirs(self.root, exist_ok=True)
            self.write_bytes(name, b"stg_ray", patience=0)
            self.delete(name)
        except OSError as error:
            reason = error.strerror or one_line(error)
            raise InputError(f"cannot write to {self.uri}: {reason} (choose another directory with --out)") from error

    @contextmanager
    def lease(self) -> Iterator[None]:
        """Own the directory while the block runs; a second process is refused.

        Locally the lease is a file lock, which the system drops with the process, however it ends. An object store has
        none: there it is an object that a thread renews.

        Raises:
            InputError: another process owns the directory.
        """
        with self._file_lease() if self.is_local else self._object_lease():
            yield

    @contextmanager
    def _file_lease(self) -> Iterator[None]:
        import fcntl

        descriptor = os.open(self.path(".lease"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _parse_owner(os.read(descriptor, 4096))
                raise self._in_use(owner) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_owner()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _object_lease(self) -> Iterator[None]:
        mine = _owner() | {"token": uuid.uuid4().hex}
        if self.exists(".lease"):
            owner = _parse_owner(self.read_bytes(".lease"))
            if time.time() - owner.get("renewed", 0) < LEASE_SECONDS:
                raise self._in_use(owner)
        self.write_json(".lease", mine | {"renewed": time.time()})
        time.sleep(1)  # two that came at the same moment: the one whose lease stands has it
        if _parse_owner(self.read_bytes(".lease")).get("token") != mine["token"]:
            raise self._in_use(_parse_owner(self.read_bytes(".lease")))
        ended = threading.Event()

        def renew() -> None:
            while not ended.wait(LEASE_SECONDS / 3):
                with suppress(OSError):
                    if _parse_owner(self.read_bytes(".lease")).get("token") == mine["token"]:
                        self.write_json(".lease", mine | {"renewed": time.time()})

        thread = threading.Thread(target=renew, daemon=True, name="stg_ray-lease")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            if _parse_owner(self.read_bytes(".lease")).get("token") == mine["token"]:
                self.delete(".lease")

    def _in_use(self, owner: dict[str, Any]) -> InputError:
        who = (
            f"process {owner['pid']} on {owner['host']} since {owner['since']}" if "pid" in owner else "another process"
        )
        return InputError(
            f"{self.uri} is in use by {who}: wait for it, stop it, or choose another directory with --out"
        )


def _made_by(stage: str, config: Config) -> dict[str, Any]:
    """What decides a stage's artifacts: sections of the configuration, and what is in the files that they name."""
    sections = STAGES[stage].sections
    named = dict(config.grouping.files) if "grouping" in sections else {}
    if "affinity" in sections and config.affinity.starts_from_checkpoint:
        named["affinity.start"] = config.affinity.start
    files = {key: Path(name).expanduser() for key, name in named.items() if "://" not in name}
    return {"config": config.fingerprint(sections), "files": file_digests(files)}


def _owner() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}


def _parse_owner(data: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(data)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def network_place(plan: str, group: int, seed: int) -> str:
    """The folder of a trained network in a run directory."""
    return f"models/{plan}/group-{group}/seed-{seed}"
