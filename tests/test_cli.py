"""The command line: wrong input exits with 2 and one clear line, without a traceback; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from stg_ray.findings import Finding
from stg_ray.tables import STYLE_OF_STATE
from tests.support.commands import Done, stg_ray
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.usefixtures("ray_session")


def as_a_program(*arguments: str, cwd: Path | None = None) -> Done:
    """In a process of its own, with a Ray of its own."""
    return subprocess.run(
        [sys.executable, "-m", "stg_ray", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def refused(*arguments: str, cwd: Path | None = None, by: Callable[..., Done] = stg_ray) -> str:
    """The one line that a refused command prints."""
    done = by(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("stg-ray: ")
    return lines[0]


@pytest.fixture
def two_tasks(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)
    np.savez(tmp_path / "two.npz", inputs=rng.normal(size=(60, 3)), labels=labels)
    np.savez(tmp_path / "one.npz", inputs=rng.normal(size=(60, 3)), labels=labels[:, :1])
    splits = np.array(["train"] * 4 + ["test"] * 56)
    np.savez(tmp_path / "few.npz", inputs=rng.normal(size=(60, 3)), labels=labels, split=splits)
    (tmp_path / "few.yaml").write_text("data: {npz: few.npz}\n")
    (tmp_path / "two.yaml").write_text("data: {npz: two.npz}\n")
    (tmp_path / "one.yaml").write_text("data: {npz: one.npz}\n")
    (tmp_path / "table.csv").write_text("x,y_1\n0,1\n")
    (tmp_path / "bad.yaml").write_text("data: {npz: two.npz\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "lies_beside.py").write_text("")
    (tmp_path / "sub" / "trunk.pt").write_bytes((tmp_path / "two.npz").read_bytes())
    np.savez(tmp_path / "sub" / "beside.npz", inputs=rng.normal(size=(60, 3)), labels=labels)
    for name, sections in {
        "beside": "data: {npz: beside.npz}",
        "joined": "data: [{npz: two.npz}, {npz: beside.npz}]",
        "pattern": "data: {libsvm: {files: 'besid*'}}",
        "function": "data: {function: 'lies_beside:load'}",
        "weights": "{data: {npz: two.npz}, model: {weights: trunk.pt}}",
        "nowhere": "data: {npz: nowhere.npz}",
    }.items():
        (tmp_path / "sub" / f"{name}.yaml").write_text(sections)
    (tmp_path / "unknown.yaml").write_text("data: {npz: two.npz}\nprofile: {epoch: 3}\n")
    return tmp_path


OF_OWN_RAY = (["one.yaml"], ["two.yaml", "--out", "/proc/nowhere"], ["two.yaml", "--address", "127.0.0.1:1"])
"""Refused while a Ray is starting, or for want of one."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "digts"], "unknown preset 'digts': did you mean 'digits'"),
        (["run", "none.yaml"], "none.yaml: No such file"),
        (["plan", "table.csv"], 'data: {csv: {files: table.csv, features: ["*"], labels: ["y_*"]}} (stg-ray guide'),
        (
            ["run", "two.npz"],
            "two.npz holds data: give a file such as mine.yaml, which says what is in it, for example data: {npz:",
        ),
        (["run", "bad.yaml"], "bad.yaml is not valid YAML"),
        (["run", "unknown.yaml"], "unknown key profile.epoch: did you mean profile.epochs?"),
        (["run", "one.yaml"], "there is 1 task: grouping needs at least 2"),
        (["run", "few.yaml"], "there is no 'val' row (4 train, 0 val, 56 test)"),
        (["plan", "few.yaml"], "make a new one of all rows, data.split=stratified"),
        (["run", "two.yaml", "--set", "grouping.groups=3"], "grouping.groups=3 but there are 2 tasks"),
        (["run", "two.yaml", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        (["run", "two.yaml", "--until", "retran"], "unknown stage 'retran': did you mean 'retrain'"),
        (["run", "two.yaml", "--address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["run", "two.yaml", "--colour"], "--colour"),
        (["run", "two.yaml", "--out", ""], "the place of the run is empty: expected a path or a URI"),
        (["run", "two.yaml", "--address", ""], "--address is empty: expected HOST:PORT"),
        (["plan", ""], "the place of the run is empty"),
        (["run"], "PRESET"),
        (["group", "no_run"], "is no run directory (no config.yaml in it)"),
        (["plan", "two.yaml", "--set", "retrain.plans=[known]"], "no known groups"),
        (["run", "sub/beside.yaml"], "; sub/beside.npz is there, beside the configuration file: start in sub"),
        (["plan", "sub/joined.yaml"], "; sub/beside.npz is there, beside the configuration file: start in sub"),
        (["plan", "sub/pattern.yaml"], "; sub/beside.npz is there, beside the configuration file: start in sub"),
        (["plan", "sub/function.yaml"], "; sub/lies_beside.py is there, beside the configuration file: start in sub"),
        (["plan", "sub/weights.yaml"], "; sub/trunk.pt is there, beside the configuration file: start in sub"),
        (["nonsense"], "nonsense"),
    ],
)
def test_wrong_input(two_tasks: Path, arguments: list[str], message: str) -> None:
    if arguments[-1] == "/proc/nowhere" and not Path("/proc").exists():
        pytest.skip("there is no /proc, where nobody can write")
    by = as_a_program if arguments[1:] in OF_OWN_RAY else stg_ray
    assert message in refused(*arguments, cwd=two_tasks, by=by)


def test_what_is_nowhere_is_not_said_to_be_beside_the_configuration(two_tasks: Path) -> None:
    assert refused("plan", "sub/nowhere.yaml", cwd=two_tasks).endswith("wherever the configuration file lies")


def test_a_file_where_the_run_directory_should_be(two_tasks: Path) -> None:
    (two_tasks / "file").write_text("")
    assert "cannot write to" in refused("run", "two.yaml", "--out", "file/run", cwd=two_tasks)


def test_a_refused_task_set_leaves_a_directory_that_can_be_used_again(two_tasks: Path) -> None:
    refused("run", "one.yaml", "--out", "run", cwd=two_tasks)
    assert "parts is not done" in refused("group", "run", cwd=two_tasks)
    mended = refused("run", "two.yaml", "--set", "grouping.groups=3", "--out", "run", cwd=two_tasks)
    assert "grouping.groups=3 but there are 2 tasks" in mended, "the directory belonged to no configuration"
    assert "one.npz" in refused("run", "one.yaml", "--out", "run", cwd=two_tasks), "now it belongs to that one"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("grouping.groups=3", "grouping.groups=3 but there are 2 tasks"),
        ("retrain.plans=[known]", "no known groups"),
        ("model.trunk=cnn", "model.trunk=cnn needs images"),
    ],
)
def test_what_would_fail_later_is_refused_at_the_door_every_time(two_tasks: Path, setting: str, message: str) -> None:
    for _ in range(2):
        assert message in refused("run", "two.yaml", "--set", setting, "--out", "run", cwd=two_tasks)


def test_a_setting_that_was_refused_at_the_door_is_mended_in_the_same_directory(two_tasks: Path) -> None:
    refused("run", "two.yaml", "--set", "model.trunk=cnn", "--out", "run", cwd=two_tasks)
    mended = refused("run", "two.yaml", "--set", "grouping.groups=3", "--out", "run", cwd=two_tasks)
    assert "grouping.groups=3 but there are 2 tasks" in mended, "the trunk is another now"


def test_data_that_changed_is_not_taken_for_what_it_was(two_tasks: Path) -> None:
    refused("run", "two.yaml", "--set", "model.trunk=cnn", "--out", "run", cwd=two_tasks)
    np.savez(two_tasks / "two.npz", inputs=np.zeros((60, 3)), labels=np.stack([np.arange(60) % 2] * 2, axis=1))
    line = refused("run", "two.yaml", "--set", "model.trunk=cnn", "--out", "run", cwd=two_tasks)
    assert "what data.npz names has changed" in line


def test_presets_and_plan_run_nothing(two_tasks: Path) -> None:
    presets = stg_ray("presets")
    assert presets.returncode == 0
    assert "digits" in presets.stdout
    assert "1,797" in presets.stdout
    plans = "retrain.plans=[ours, all_in_one, all_in_one_ensemble, random]"
    plan = stg_ray("plan", "digits", "--set", plans, cwd=two_tasks)
    assert plan.returncode == 0
    counts = ("8 of ours", "2 of all_in_one,", "8 of all_in_one_ensemble", "16 of random")
    # Two networks of the ensembles are all-in-one's, and are trained once.
    for word in ("15 tasks", "4 groups", "32 networks", *counts, "s on "):
        assert word in " ".join(plan.stdout.split())
    assert "all_in_one_ensemble_2" not in plan.stdout, "whose networks are the ensemble's"
    assert not (two_tasks / "runs").exists()


def test_help_names_every_command() -> None:
    text = stg_ray("--help").stdout
    for command in ("run", "plan", "presets", "doctor", "profile", "affinity", "group", "retrain", "report"):
        assert command in text


def test_every_state_of_a_finding_has_a_style() -> None:
    assert set(STYLE_OF_STATE) == set(get_args(get_type_hints(Finding)["state"]))


def test_a_job_needs_a_directory(repository: Path) -> None:
    job = subprocess.run(
        [sys.executable, "jobs/run.py", "jobs/configs/digits.yaml"],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert job.returncode == 2
    assert "--out is missing" in job.stderr


def test_what_code_of_the_user_raises_is_one_line_and_a_traceback_if_asked(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def load():\n    raise KeyError('no such column')\n")
    (tmp_path / "mine.yaml").write_text("data: {function: 'mine:load'}\n")
    place = f"{tmp_path / 'mine.py'}, line 2, in load"
    said = refused("plan", "mine.yaml", cwd=tmp_path, by=as_a_program)
    assert said == f"stg-ray: data.function=mine:load was called, and it raised KeyError: 'no such column' ({place})"
    done = as_a_program("plan", "mine.yaml", "--verbose", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback (most recent call last)" in done.stderr
    assert "raise KeyError('no such column')" in done.stderr
    assert done.stderr.splitlines()[-1] == said


@pytest.mark.parametrize("place", ["s3://key:hush@bucket/run", "s3://bucket/run?access_key=key&secret_key=hush"])
@pytest.mark.parametrize("command", [("run", "digits", "--out"), ("report",), ("profile",), ("doctor", "--out")])
def test_credentials_in_the_place_of_a_run_are_shown_nowhere(command: tuple[str, ...], place: str) -> None:
    done = stg_ray(*command, place)
    assert done.returncode == 2
    assert not done.stdout
    assert "hush" not in done.stderr
    assert "the place of the run holds credentials in its address" in done.stderr


def test_warnings_about_data_stand_in_the_plan(tmp_path: Path) -> None:
    for number in range(60):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "notes.txt").touch()
    (tmp_path / "mine.yaml").write_text("data: {images: {folder: images}}\n")
    done = stg_ray("plan", "mine.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "images: 1 files are left out (1 .txt): expected .jpg" in " ".join(done.stdout.split())
