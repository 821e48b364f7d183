"""The directory of a run: its configuration, its owner, and the stages that are done, each for one configuration.

A stage that begins leaves a marker, `.stages/STAGE.begun.json`, and one that ends another, `.stages/STAGE.json`. Both
name the process that owned the directory, and the second counts only beside a first one of the same owner: a process
that was taken for dead, and wakes up after another has begun the stage, cannot mark it as done.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from stg_ray.artifacts.contents import Contents, contents_of, damaged_file, or_alone
from stg_ray.artifacts.digests import file_digests, image_digests, source_digests
from stg_ray.artifacts.given_trunk import with_trunk_file
from stg_ray.artifacts.owned import OwnedStorage
from stg_ray.artifacts.versions import current_versions, difference_of, has_same_results
from stg_ray.config import Config
from stg_ray.config.fingerprints import of_before
from stg_ray.config.loading import load_config
from stg_ray.config.paths import expanded
from stg_ray.config.plain_yaml import read_yaml
from stg_ray.config.writers import is_cut_off, marked, newer_writer
from stg_ray.errors import InputError, StgRayError, one_line
from stg_ray.stages import STAGES, onwards

IMAGES = ".stages/images.json"
"""The images that a table names."""

SOURCES = ".stages/sources.json"
"""Digests of the files that the configuration names."""


class RunDir(OwnedStorage):
    """The directory of one run. guides/how_it_works.md lists its artifacts."""

    def is_done(self, stage: str, config: Config) -> bool:
        """Return whether a stage is done: its artifacts are whole, and made by this configuration.

        Files that the configuration names count by their contents as they are now.
        """
        return self.is_marked(stage, config) and self.damaged_file(stage, config) is None

    def damaged_file(self, stage: str, config: Config) -> str | None:
        """Return the name of a file of a finished stage that is not as the stage left it; None if there is none.

        Runs that version 0.1 finished do not say how their files were left.
        """
        return damaged_file(self, self.recorded(stage)) if self.is_marked(stage, config) else None

    def recorded(self, stage: str, name: str = "") -> Contents:
        """Return what a finished stage noted of its files; nothing where it is not done, or was by version 0.1.

        Args:
            name: a file, or a folder; all files if empty.
        """
        contents = self.marker(stage).get("contents")
        if not isinstance(contents, dict):
            return {}
        return {
            own: noted if isinstance(noted, dict) else {}
            for own, noted in contents.items()
            if not name or own == name or own.startswith(f"{name}/")
        }

    def record(self, stage: str, name: str) -> None:
        """Note a file that came after a finished stage among those that the stage left; nothing if it is not done."""
        if marker := self.marker(stage):
            contents = self.recorded(stage) | contents_of(self, [name])
            self.write_json(f".stages/{stage}.json", marker | {"contents": contents})

    def check_file(self, stage: str, name: str) -> None:
        """Refuse a file or folder that is not as a finished stage left it.

        Raises:
            InputError: it is damaged, exchanged or gone.
        """
        if file := damaged_file(self, self.recorded(stage, name)):
            raise self._damaged(file, stage)

    def marker(self, stage: str) -> dict[str, Any]:
        """Return the marker of a stage that is done, for whatever configuration; empty if it is not."""
        marker, begun = self._read_marker(f".stages/{stage}.json"), self._read_marker(f".stages/{stage}.begun.json")
        return marker if marker.get("owner") == begun.get("owner", marker.get("owner")) else {}

    def _damaged(self, file: str, stage: str) -> InputError:
        alone = or_alone(stage, self.uri)
        return InputError(f"{file} in {self.uri} is not as {stage} left it: make it again with stg-ray run{alone}")

    def require(self, stage: str, config: Config) -> None:
        """Refuse to go on from a stage that is not done, or whose files are damaged.

        Args:
            stage: the stage that is needed.
            config: of the run.

        Raises:
            InputError: it is not done, or one of its files is not as it was left.
        """
        if file := self.damaged_file(stage, config):
            raise self._damaged(file, stage)
        if not self.is_marked(stage, config):
            alone = or_alone(stage, self.uri)
            raise InputError(f"{stage} is not done in {self.uri}: finish it first with stg-ray run{alone}")

    def mark_done(self, stage: str, config: Config, seconds: float) -> None:
        """Mark a stage as done by this configuration, and delete its scratch files.

        Args:
            seconds: the time that it took.

        Raises:
            StgRayError: another process has taken the directory over.
        """
        begun = self._read_marker(f".stages/{stage}.begun.json")  # what it began with: a file may have changed since
        made_by: dict[str, Any] = {key: begun[key] for key in ("config", "files") if key in begun}
        made_by = made_by or _made_by(stage, config)
        of_stage = STAGES[stage]
        contents = contents_of(self, [*of_stage.artifacts, *of_stage.counted], without=of_stage.scratch)
        owner = {"owner": begun["owner"]} if "owner" in begun else {}
        done: dict[str, Any] = {
            **made_by,
            **owner,
            **self._signature(stage),
            "seconds": round(seconds, 2),
            "contents": contents,
        }
        if begun.get("versions", done["versions"]) != done["versions"]:
            done["begun_by"] = begun["versions"]
        self.check_owner()
        if self._owner is not None and begun.get("owner") != self._owner.token:
            raise StgRayError(f"{stage} in {self.uri} was begun by another process meanwhile: give the command again")
        self.write_json(f".stages/{stage}.json", done)
        for name in of_stage.scratch:
            self.delete(name)

    def begin(self, stage: str, config: Config) -> None:
        """Prepare to run a stage: its half-made artifacts are kept only if this configuration began them.

        They are not kept either where a version began them whose results are others.

        Raises:
            StgRayError: another process has taken the directory over.
        """
        self.check_owner()
        name = f".stages/{stage}.begun.json"
        begun, made_by = self._read_marker(name), _made_by(stage, config)
        is_same = self._was_made_by(name, made_by) and has_same_results(stage, begun)
        if not is_same:
            self.forget(stage)
        versions = {"versions": begun["versions"]} if is_same and "versions" in begun else {}
        kept = {key: begun[key] for key in ("config", "files") if is_same and key in begun}
        self.write_json(name, made_by | kept | self._signature(stage) | versions)
        self.delete(f".stages/{stage}.json")

    def _signature(self, stage: str) -> dict[str, Any]:
        """Return who makes a stage: the owner of the directory, and the versions of all that decides the results."""
        owner = {} if self._owner is None else {"owner": self._owner.token}
        return owner | {"results": STAGES[stage].results, "versions": current_versions()}

    def note_of_version(self, stage: str, *, begun: bool = False) -> str:
        """Say that another version, which gives other results, made a stage; empty where none did.

        Args:
            begun: whether the half-made stage is meant.
        """
        marker = self._read_marker(f".stages/{stage}.begun.json") if begun else self.marker(stage)
        return difference_of(stage, marker) if marker else ""

    def is_marked(self, stage: str, config: Config) -> bool:
        """Return whether a stage is marked as done by this configuration, whatever has become of its files."""
        return bool(self.marker(stage)) and self._was_made_by(f".stages/{stage}.json", _made_by(stage, config))

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
        self.check_owner()
        for name in (f".stages/{stage}.json", f".stages/{stage}.begun.json", *STAGES[stage].artifacts):
            self.delete(name)

    def forget_from(self, stage: str) -> None:
        """Forget a stage and every later one, the last first."""
        for later in reversed(onwards(stage)):
            self.forget(later.name)

    def has_config(self) -> bool:
        """Return whether a run has begun here."""
        return self.is_file("config.yaml")

    def has_done(self) -> bool:
        """Return whether a stage was done here; before, the directory belongs to no configuration."""
        return self.has_config() and any(self.exists(f".stages/{name}.json") for name in STAGES)

    def note_images(self, paths: Sequence[Path]) -> None:
        """Take note of the images that a table names, if any, so that `check_sources` looks at them too."""
        if names := sorted({str(path) for path in paths}):
            self.write_json(IMAGES, {"paths": names})
            self.write_json(SOURCES, self._read_marker(SOURCES) | image_digests(names))

    def check_sources(self, config: Config, stage: str | None = None, *, note: bool = True) -> bool:
        """Refuse to continue with data or code that changed since this run began.

        Args:
            config: of the run.
            stage: is asked for by itself: what its own settings name may have changed, and one that runs on the driver
                looks at nothing else.
            note: take note of the contents; else they are looked at only.

        Returns:
            Whether that has changed, so that nothing is left of what the stage made before.

        Raises:
            InputError: the contents of a file or folder of the data, or of a module of yours, have changed.
        """
        own_sections = () if stage is None else STAGES[stage].adds
        current = source_digests(config, None if stage is None or STAGES[stage].needs_ray else own_sections)
        if stage is None or STAGES[stage].needs_ray:
            current |= image_digests(self._read_marker(IMAGES).get("paths", ()))
        before = self._read_marker(SOURCES)
        changed = [key for key, digest in current.items() if before.get(key, digest) != digest]
        own = [key for key in changed if key.partition(".")[0] in own_sections]
        if changed := [key for key in changed if key not in own]:
            raise InputError(
                f"what {changed[0]} names has changed since {self.uri} began with it: choose another directory (--out)"
            )
        if note and before | current != before:
            self.write_json(SOURCES, before | current)
        return bool(own)

    def write_config(self, config: Config) -> None:
        """Write config.yaml.

        Raises:
            StgRayError: another process has taken the directory over.
        """
        self.check_owner()
        self.write_bytes("config.yaml", marked(config.to_yaml()).encode())

    def read_config(self) -> Config:
        """Read config.yaml.

        Raises:
            InputError: the file is missing, or holds no valid configuration.
        """
        if not self.has_config():
            raise InputError(f"{self.uri} is no run directory (no config.yaml in it): start one with stg-ray run")
        text = self.read_bytes("config.yaml")
        if is_cut_off(text.decode(errors="replace")):
            raise InputError(f"{self.uri}/config.yaml is cut off: its last line is missing")
        try:
            values = read_yaml(text)
        except yaml.YAMLError as error:
            raise InputError(f"{self.uri}/config.yaml is not valid YAML: {one_line(error)}") from error
        if not isinstance(values, dict):
            raise InputError(f"{self.uri}/config.yaml holds no configuration")
        try:
            return with_trunk_file(self, load_config(of_before(Config, values), of_run=True))
        except InputError as error:
            raise InputError(f"{self.uri}/config.yaml: {error}{newer_writer(text.decode(errors='replace'))}") from error

    def check_writable(self, other: str = "directory (--out)") -> None:
        """Create the directory if necessary, and write to it once; see `Storage.check_writable`."""
        super().check_writable(other)


def _made_by(stage: str, config: Config) -> dict[str, Any]:
    """Identify what decides a stage's artifacts: hashes of its sections, and of the files that these name."""
    sections = STAGES[stage].sections
    named = dict(config.grouping.files) if "grouping" in sections else {}
    if "affinity" in sections and config.affinity.starts_from_checkpoint:
        named["affinity.start"] = config.affinity.start
    files = {key: expanded(name) for key, name in named.items() if "://" not in name}
    return {"config": config.fingerprint(sections), "files": file_digests(files)}


def network_place(plan: str, group: int, seed: int) -> str:
    """Return the folder of a trained network, relative to the run directory."""
    return f"models/{plan}/group-{group}/seed-{seed}"
