"""What was left to auto is known after it is settled, and what is given later is no longer left to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import stg_ray as sr
from stg_ray.artifacts.left_to_auto import left_to_auto, note_auto
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.config.loading import set_values
from stg_ray.progress import Reporter


def test_a_run_knows_what_was_left_to_auto_when_it_goes_on_too(
    make_task_set: Callable[..., sr.TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    settings = {"retrain": {"lr": 0.01}, "profile": {"epochs": 3}}
    run = sr.run(make_task_set(), out, settings=settings, until="parts", reporter=quiet)
    assert run.config.profile.lr != "auto", "it is settled"
    left = left_to_auto(run.run_dir)
    assert left is not None
    assert {"model.width", "profile.lr", "affinity.methods", "retrain.epochs", "grouping.groups"} <= left
    assert not {"retrain.lr", "profile.epochs"} & left
    sr.run(str(out / "config.yaml"), out, until="parts", reporter=quiet)  # as a stage's message says it
    assert left_to_auto(run.run_dir) == left


def test_a_key_that_is_given_later_is_left_to_nobody(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    given = sr.load_config({"data": {"npz": "mine.npz"}, "retrain": {"lr": 0.01}})
    assert left_to_auto(run) is None
    note_auto(run, given, before=given)
    assert left_to_auto(run) is None, "a version that did not note it began the run"
    note_auto(run, given)
    settled = set_values(given, ["profile.lr=0.005", "model.width=256"])
    note_auto(run, set_values(settled, ["profile.lr=0.1", "retrain.lr=auto"]), before=settled)
    left = left_to_auto(run)
    assert left is not None
    assert {"model.width", "retrain.lr"} <= left
    assert "profile.lr" not in left
