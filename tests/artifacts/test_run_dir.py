"""A run directory: no stale artifact passes for a fresh one."""

from __future__ import annotations

from pathlib import Path

import pytest

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.config.loading import load_config, set_values
from stg_ray.errors import InputError

CONFIG = load_config("digits")


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
