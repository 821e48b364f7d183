"""Findings of `stg-ray doctor`, and the checks of a run directory: is everything in it as its stages left it?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from stg_ray.artifacts.contents import damages
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.checks import finishing_command
from stg_ray.config import Config
from stg_ray.errors import InputError, one_line
from stg_ray.retraining.kept import is_finished


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: ok, warning or problem.
        text: the facts, in one line.
        advice: of a warning or problem: what goes wrong, and what to do.
    """

    state: Literal["ok", "warning", "problem"]
    text: str
    advice: str = ""


def check_run(run: RunDir) -> Iterator[Finding]:
    """Compare every file of a run with what its stage noted when it was done, and say what repairs those that differ.

    All files are read, also those of an object store.

    Args:
        run: a run directory; it is not changed.
    """
    try:
        config = run.read_config()
    except InputError as error:
        yield Finding(
            "problem", one_line(error), "no command goes on without it: put it back from a copy, or begin another run"
        )
        return
    try:
        for stage in config.stages:
            yield from _check_stage(run, config, stage)
        yield from _check_networks(run)
    except OSError as error:
        yield Finding(
            "problem",
            f"{run.uri} cannot be read: {one_line(error)}",
            "mend its permissions or its disk, and look again",
        )


def _check_stage(run: RunDir, config: Config, stage: str) -> Iterator[Finding]:
    marker, repair = run.marker(stage), _repair(run, config, stage)
    if not marker:
        begun = " (it runs, or was interrupted)" if run.exists(f".stages/{stage}.begun.json") else ""
        yield Finding("warning", f"{stage}: not done{begun}", f"{repair} does it")
        return
    if not run.is_marked(stage, config):
        yield Finding(
            "warning", f"{stage}: made by another configuration, or from other files", f"{repair} makes it anew"
        )
        return
    recorded = run.recorded(stage)
    if not recorded:
        yield Finding(
            "warning",
            f"{stage}: done by stg_ray 0.1, which noted nothing of its files",
            "damage would not be noticed"
            + ("" if stage == "parts" else f": stg-ray {stage} {shlex.quote(run.uri)} makes it anew, and notes it"),
        )
        return
    found = [
        Finding("problem", f"{stage}: {file} {damage}", f"{repair} makes it again, and what was made from it")
        for file, damage in damages(run, recorded, thorough=True)
    ]
    yield from found
    if not found:
        versions = ", ".join(f"{name} {version}" for name, version in marker.get("versions", {}).items())
        yield Finding("ok", f"{stage}: {len(recorded)} files are as they were left" + (versions and f" by {versions}"))


def _check_networks(run: RunDir) -> Iterator[Finding]:
    """Check the networks that are kept for later trainings; those that plans use are also among the stage's files."""
    kept = [name for name in run.list(".networks") if run.exists(f".networks/{name}/network.json")]
    for name in kept:
        if not is_finished(run, f".networks/{name}"):
            yield Finding(
                "warning",
                f"the kept network .networks/{name} is damaged",
                f"it is trained again when it is needed; stg-ray retrain {shlex.quote(run.uri)} does it now",
            )


def _repair(run: RunDir, config: Config, stage: str) -> str:
    """Name the command that makes a stage, and all that it is made from."""
    is_last = stage == "report" and all(run.is_done(name, config) for name in config.stages if name != stage)
    return f"stg-ray report {shlex.quote(run.uri)}" if is_last else finishing_command(run, config)
