"""Somebody else's run directory is data: nothing that it names is imported, unless that is asked for."""

from __future__ import annotations

import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.trust import SIGNATURE, check_code, named_code, sign_code
from stg_ray.errors import InputError
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.stages import STAGES
from tests.test_older_runs import ARCHIVE

EVIL = """
from pathlib import Path
Path("imported").touch()

def trunk(shape):
    import torch
    Path("called").touch()
    return torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.ReLU())
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without a key, and a folder in which a module `evil_trunk` lies."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_trunk.py").write_text(EVIL)
    yield tmp_path
    sys.modules.pop("evil_trunk", None)


@pytest.fixture
def foreign(home: Path) -> RunDir:
    """A finished run whose trunk is a function of the module, as somebody else may have sent it."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(home, filter="data")
    run = RunDir(home / "run")
    config = run.read_config()
    config = config.model_copy(update={"model": config.model.model_copy(update={"trunk": "evil_trunk:trunk"})})
    run.write_config(config)
    for stage in STAGES:
        if stage != "report":
            run.delete(f".stages/{stage}.begun.json")
            run.mark_done(stage, config, 0.0)
    return run


def test_its_networks_are_not_loaded_unless_its_code_is_trusted(foreign: RunDir, home: Path) -> None:
    with pytest.raises(InputError, match=r"names code that would be run \(model.trunk: evil_trunk:trunk\)"):
        sr.load(foreign.uri)
    assert not (home / "imported").exists()
    with pytest.raises(RuntimeError, match="state_dict"):  # another trunk than that of the weights, but it was built
        sr.load(foreign.uri, trust_code=True)
    assert (home / "called").exists()


@pytest.mark.parametrize("stage", ["group", "report"])
def test_groups_and_reports_import_nothing(foreign: RunDir, home: Path, quiet: Reporter, stage: str) -> None:
    run_stage(stage, foreign.uri, reporter=quiet)
    assert foreign.is_done(stage, foreign.read_config())
    assert not (home / "imported").exists()


@pytest.mark.parametrize("stage", ["profile", "affinity", "retrain"])
def test_stages_that_build_the_network_ask_first(foreign: RunDir, home: Path, quiet: Reporter, stage: str) -> None:
    with pytest.raises(InputError, match="give --trust-code"):
        run_stage(stage, foreign.uri, reporter=quiet)
    assert not (home / "imported").exists()
    assert foreign.is_done(stage, foreign.read_config()), "nothing is lost"


def test_a_run_of_this_user_is_known_by_its_signature(foreign: RunDir, home: Path) -> None:
    config = foreign.read_config()
    sign_code(foreign, config)
    assert (home / "config" / "stg_ray" / "key").stat().st_mode & 0o777 == 0o600
    check_code(foreign, config, trust_code=False)
    other = config.model_copy(update={"model": config.model.model_copy(update={"trunk": "subprocess:check_call"})})
    with pytest.raises(InputError, match="subprocess:check_call"):
        check_code(foreign, other, trust_code=False)
    (home / "config" / "stg_ray" / "key").write_bytes(os.urandom(32))  # the key of another user
    with pytest.raises(InputError, match="was not made by you"):
        check_code(foreign, config, trust_code=False)


@pytest.mark.parametrize("forged", [b'{"signature": "0"}', b'{"signature": null}', b"[]", b'{"signature": {}}'])
def test_a_forged_signature_is_none(foreign: RunDir, forged: bytes) -> None:
    sign_code(foreign, foreign.read_config())
    foreign.write_bytes(SIGNATURE, forged)
    with pytest.raises(InputError, match="was not made by you"):
        check_code(foreign, foreign.read_config(), trust_code=False)


def test_a_home_that_cannot_be_written_to_signs_nothing(foreign: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    sign_code(foreign, foreign.read_config())
    assert not foreign.exists(SIGNATURE)


def test_code_is_whatever_names_a_function() -> None:
    assert named_code(sr.load_config("digits")) == {}
    parts = [{"function": "mine:load", "name": "mine"}, "digits"]
    config = sr.load_config({"data": parts, "model": {"trunk": "my.nets:trunk"}})
    assert named_code(config) == {"model.trunk": "my.nets:trunk", "data.mine.function": "mine:load"}


CLUSTERER = """
from pathlib import Path
Path("imported").touch()

from stg_ray.grouping.clusterers.agglomerative import Agglomerative as Clusterer
"""


def test_a_clusterer_of_the_directorys_is_asked_about(foreign: RunDir, home: Path, quiet: Reporter) -> None:
    (home / "evil_trunk.py").write_text(CLUSTERER)
    config = foreign.read_config()
    grouping = config.grouping.model_copy(update={"method": "evil_trunk:Clusterer"})
    foreign.write_config(config.model_copy(update={"grouping": grouping}))
    for stage in ("group", "retrain"):
        foreign.mark_done(stage, foreign.read_config(), 0.0)
    run_stage("report", foreign.uri, reporter=quiet)
    with pytest.raises(InputError, match=r"names code that would be run \(grouping.method: evil_trunk:Clusterer\)"):
        run_stage("group", foreign.uri, reporter=quiet)
    assert not (home / "imported").exists()
    assert run_stage("group", foreign.uri, reporter=quiet, trust_code=True).groups.method == "evil_trunk:Clusterer"
    assert not foreign.exists(SIGNATURE), "it was trusted once"


def test_what_is_named_with_a_command_is_the_users_own(foreign: RunDir, home: Path, quiet: Reporter) -> None:
    (home / "my_code.py").write_text(CLUSTERER)
    theirs = ["grouping.method=my_code:Clusterer"]
    run_stage("group", foreign.uri, overrides=theirs, reporter=quiet)
    assert (home / "imported").exists()
    assert not foreign.exists(SIGNATURE), "the trunk is still somebody else's"
    config = foreign.read_config()
    own = config.model_copy(update={"model": config.model.model_copy(update={"trunk": "mlp"})})
    own = own.model_copy(update={"grouping": own.grouping.model_copy(update={"method": "spectral"})})
    foreign.write_config(own)
    for stage in ("parts", "profile", "affinity"):
        foreign.mark_done(stage, own, 0.0)
    run_stage("group", foreign.uri, overrides=theirs, reporter=quiet)
    check_code(foreign, foreign.read_config(), trust_code=False)


def test_shapes_are_whole_numbers(foreign: RunDir) -> None:
    index = foreign.read_json("parts/index.json")
    foreign.write_json("parts/index.json", index | {"input_shape": ["rm -rf", "x"]})
    foreign.mark_done("parts", foreign.read_config(), 0.0)
    with pytest.raises(InputError, match=r"input shape \['rm -rf', 'x'\]: expected whole numbers"):
        sr.load(foreign.uri, trust_code=True)


def test_affinities_and_clusterers_by_class_are_code_and_those_by_name_are_installed() -> None:
    settings = ["affinity.methods=[tag, mine:Affinity]", "grouping.method=mine:Clusterer"]
    named = {"affinity.methods[1]": "mine:Affinity", "grouping.method": "mine:Clusterer"}
    assert named_code(sr.load_config("digits", settings)) == named


def test_a_metric_of_the_users_is_code() -> None:
    config = sr.load_config("digits", ["metric.binary=mine:metric", "metric.regression=mae"])
    assert named_code(config) == {"metric.binary": "mine:metric"}
