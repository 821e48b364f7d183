"""The directory of a run: its configuration, its owner, and the stages that are done, each for one configuration."""

from __future__ import annotations

import os
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from stg_ray.artifacts.contents import contents_of, damaged_file
from stg_ray.artifacts.digests import file_digests, source_digests
from stg_ray.artifacts.given_trunk import with_trunk_file
from stg_ray.artifacts.lease import file_lease, object_lease
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import load_config
from stg_ray.config.plain_yaml import read_yaml
from stg_ray.errors import InputError, one_line
from stg_ray.stages import STAGES, onwards


class RunDir(Storage):
    """The directory of one run. The README describes its artifacts."""

    def is_done(self, stage: str, config: Config) -> bool:
        """Return whether a stage is done: its artifacts are whole, and made by this configuration.

        Files that the configuration names count by their contents as they are now.
        """
        return self._is_marked(stage, config) and self.damaged_file(stage, config) is None

    def damaged_file(self, stage: str, config: Config) -> str | None:
        """Return the name of a file of a finished stage that is not as the stage left it; None if there is none.

        Runs that version 0.1 finished do not say how their files were left.
        """
        if not self._is_marked(stage, config):
            return None
        recorded = self._read_marker(f".stages/{stage}.json").get("contents")
        return damaged_file(self, recorded) if isinstance(recorded, dict) else None

    def require(self, stage: str, config: Config, remedy: str = "") -> None:
        """Refuse to go on from a stage that is not done, or whose files are damaged.

        Args:
            stage: the stage that is needed.
            config: of the run.
            remedy: what else to do than to give `stg-ray run` once more.

        Raises:
            InputError: it is not done, or one of its files is not as it was left.
        """
        if file := self.damaged_file(stage, config):
            raise InputError(f"{file} in {self.uri} is not as {stage} left it: make it again with stg-ray run{remedy}")
        if not self._is_marked(stage, config):
            raise InputError(f"{stage} is not done in {self.uri}: finish it first with stg-ray run{remedy}")

    def mark_done(self, stage: str, config: Config, seconds: float) -> None:
        """Mark a stage as done by this configuration, and delete its scratch files.

        Args:
            seconds: the time that it took.
        """
        begun = f".stages/{stage}.begun.json"  # what the stage began with: a file may have changed since then
        made_by = self._read_marker(begun) or _made_by(stage, config)
        contents = contents_of(self, STAGES[stage].artifacts, without=STAGES[stage].scratch)
        marker = {**made_by, "seconds": round(seconds, 2), "contents": contents}
        self.write_json(f".stages/{stage}.json", marker)
        for name in STAGES[stage].scratch:
            self.delete(name)

    def begin(self, stage: str, config: Config) -> None:
        """Prepare to run a stage: its half-made artifacts are kept only if this configuration began them."""
        marker = f".stages/{stage}.begun.json"
        made_by = _made_by(stage, config)
        if not self._was_made_by(marker, made_by):
            self.forget(stage)
            self.write_json(marker, made_by)
        self.delete(f".stages/{stage}.json")

    def _is_marked(self, stage: str, config: Config) -> bool:
        return self._was_made_by(f".stages/{stage}.json", _made_by(stage, config))

    def _was_made_by(self, marker: str, made_by: dict[str, Any]) -> bool:
        """Return whether a marker names this configuration and these files. A file that is gone is not compared."""
        marked = self._read_marker(marker)
        files = marked.get("files", {})
        same_config: bool = marked.get("config") == made_by["config"]
        return same_config and all(files.get(key, digest) == digest for key, digest in made_by["files"].items())

    def _read_marker(self, marker: str) -> dict[str, Any]:
        """Read a marker; one that is missing or damaged marks nothing."""
        try:
            marked = self.read_json(marker)
        except (FileNotFoundError, ValueError):
            return {}
        return marked if isinstance(marked, dict) and isinstance(marked.get("files", {}), dict) else {}

    def forget(self, stage: str) -> None:
        """Delete a stage's artifacts, the marker first, so that nothing half-deleted passes for done."""
        for name in (f".stages/{stage}.json", f".stages/{stage}.begun.json", *STAGES[stage].artifacts):
            self.delete(name)

    def forget_from(self, stage: str) -> None:
        """Forget a stage and every later one, the last first."""
        for later in reversed(onwards(stage)):
            self.forget(later.name)

    def has_config(self) -> bool:
        """Return whether a run has begun here."""
        return self.exists("config.yaml")

    def has_done(self) -> bool:
        """Return whether a stage was done here; before, the directory belongs to no configuration."""
        return self.has_config() and any(self.exists(f".stages/{name}.json") for name in STAGES)

    def has_begun(self, stage: str) -> bool:
        """Return whether a stage, or a later one, has begun here."""
        return any(self.exists(f".stages/{later.name}{end}.json") for later in onwards(stage) for end in ("", ".begun"))

    def forget_sources(self) -> None:
        """Forget the contents of the files that the configuration named."""
        self.delete(".stages/sources.json")

    def check_sources(self, config: Config) -> None:
        """Refuse to continue with data or code that changed since this run began.

        Raises:
            InputError: the contents of the .npz file, or of the module of a function or trunk, have changed.
        """
        current = source_digests(config)
        before = self._read_marker(".stages/sources.json")
        changed = [key for key, digest in current.items() if before.get(key, digest) != digest]
        if changed:
            raise InputError(
                f"what {changed[0]} names has changed since {self.uri} began with it: choose another --out"
            )
        if before | current != before:
            self.write_json(".stages/sources.json", before | current)

    def write_config(self, config: Config) -> None:
        """Write config.yaml."""
        self.write_bytes("config.yaml", config.to_yaml().encode())

    def read_config(self) -> Config:
        """Read config.yaml.

        Raises:
            InputError: the file is missing, or holds no valid configuration.
        """
        if not self.has_config():
            raise InputError(f"{self.uri} is no run directory (no config.yaml in it): start one with stg-ray run")
        try:
            values = read_yaml(self.read_bytes("config.yaml"))
        except yaml.YAMLError as error:
            raise InputError(f"{self.uri}/config.yaml is not valid YAML: {one_line(error)}") from error
        if not isinstance(values, dict):
            raise InputError(f"{self.uri}/config.yaml holds no configuration")
        return with_trunk_file(self, load_config(values))

    def check_writable(self) -> None:
        """Create the directory if necessary, and write to it once.

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

    def lease(self) -> AbstractContextManager[None]:
        """Own the directory for the length of a `with` block; a second process is refused.

        Raises:
            InputError: another process owns the directory.
        """
        return file_lease(self) if self.is_local else object_lease(self)


def _made_by(stage: str, config: Config) -> dict[str, Any]:
    """Identify what decides a stage's artifacts: hashes of its sections, and of the files that these name."""
    sections = STAGES[stage].sections
    named = dict(config.grouping.files) if "grouping" in sections else {}
    if "affinity" in sections and config.affinity.starts_from_checkpoint:
        named["affinity.start"] = config.affinity.start
    files = {key: Path(name).expanduser() for key, name in named.items() if "://" not in name}
    return {"config": config.fingerprint(sections), "files": file_digests(files)}


def network_place(plan: str, group: int, seed: int) -> str:
    """Return the folder of a trained network, relative to the run directory."""
    return f"models/{plan}/group-{group}/seed-{seed}"
