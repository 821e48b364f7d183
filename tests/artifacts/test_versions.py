"""A run says which versions made its stages; what another version would have made otherwise is not mixed in silence."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import replace
from pathlib import Path

import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import load_config
from stg_ray.errors import InputError
from stg_ray.stages import STAGES

CONFIG = load_config({"data": {"npz": "mine.npz"}})


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path)
    run.write_config(CONFIG)
    return run


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version, whose affinities are others."""
    later = replace(STAGES["affinity"], changes=(*STAGES["affinity"].changes, "9.0 sees tasks otherwise"))
    monkeypatch.setitem(STAGES, "affinity", later)


def test_a_stage_keeps_the_versions_that_made_it(run: RunDir) -> None:
    run.begin("affinity", CONFIG)
    run.mark_done("affinity", CONFIG, 1.0)
    versions = run.marker("affinity")["versions"]
    assert versions["stg_ray"] == sr.__version__
    assert versions["python"] == platform.python_version()
    assert {name: versions[name] for name in ("torch", "ray")} == {
        name: importlib.metadata.version(name) for name in ("torch", "ray")
    }
    assert "begun_by" not in run.marker("affinity")
    begun = run.read_json(".stages/affinity.begun.json")
    older = {**versions, "torch": "1.13.0"}
    run.write_json(".stages/affinity.begun.json", begun | {"versions": older})
    run.begin("affinity", CONFIG)
    run.mark_done("affinity", CONFIG, 1.0)
    assert run.marker("affinity")["begun_by"] == older, "it was finished by others than had begun it"


def test_a_finished_stage_of_other_results_is_kept_and_this_is_said(
    run: RunDir, request: pytest.FixtureRequest
) -> None:
    run.begin("affinity", CONFIG)
    run.mark_done("affinity", CONFIG, 1.0)
    assert run.note_of_version("affinity") == ""
    request.getfixturevalue("changed")
    assert run.is_done("affinity", CONFIG)
    assert run.note_of_version("affinity") == f"by stg_ray {sr.__version__}; since then, 9.0 sees tasks otherwise"


def test_a_half_made_stage_of_other_results_is_begun_anew(run: RunDir, request: pytest.FixtureRequest) -> None:
    run.begin("affinity", CONFIG)
    run.write_bytes("affinity/partials/landscape/0.arrow", b"sums")
    run.begin("affinity", CONFIG)
    assert run.exists("affinity/partials/landscape/0.arrow"), "the same version goes on"
    request.getfixturevalue("changed")
    assert "9.0 sees tasks otherwise" in run.note_of_version("affinity", begun=True)
    run.begin("affinity", CONFIG)
    assert not run.exists("affinity/partials")
    assert run.note_of_version("affinity", begun=True) == ""


def test_an_older_version_says_that_a_newer_one_made_a_stage(run: RunDir) -> None:
    run.begin("group", CONFIG)
    run.mark_done("group", CONFIG, 1.0)
    newer = {"results": 99, "versions": {"stg_ray": "3.0"}}
    run.write_json(".stages/group.json", run.marker("group") | newer)
    assert run.note_of_version("group") == "by stg_ray 3.0, which is newer and may give other results"


def test_a_key_of_a_newer_version_is_explained(run: RunDir, tmp_path: Path) -> None:
    text = run.read_bytes("config.yaml").decode()
    assert text.startswith(f"# Written by stg_ray {sr.__version__};")
    file = tmp_path / "config.yaml"
    file.write_text(text.replace("profile:\n", "profile:\n  telepathy: true\n"))
    for read in (run.read_config, lambda: load_config(str(file))):
        with pytest.raises(InputError, match=r"unknown key profile.telepathy: [^;]*$"):
            read()
    file.write_text(file.read_text().replace(sr.__version__, "99.1.0"))
    for read in (run.read_config, lambda: load_config(str(file))):
        with pytest.raises(
            InputError, match=r"unknown key profile.telepathy: .*; stg_ray 99.1.0 wrote it, and this is"
        ):
            read()
    file.write_text(text.replace(sr.__version__, "99.1.0"))
    assert run.read_config() == CONFIG, "what this version knows, it reads"
