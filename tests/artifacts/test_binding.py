"""A run directory belongs to a configuration once there is something that another one would discard."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import stg_ray as sr
from stg_ray.artifacts.binding import warn_of_other_trunk
from stg_ray.artifacts.run_dir import SOURCES
from stg_ray.progress import Reporter

LABELS = np.stack([np.arange(60) % 2, np.arange(60) // 2 % 2], axis=1)
TASKS = sr.TaskSet.from_arrays(np.random.default_rng(0).normal(size=(60, 3)), LABELS)

TRUNK = "import torch\n\n\ndef trunk(shape):\n    return torch.nn.Linear(shape[0], 4)\n"


def run_with(out: Path, quiet: Reporter, **settings: Any) -> sr.Run:
    return sr.run(TASKS, out, settings=settings, until="parts", reporter=quiet)


def fail(run: sr.Run) -> None:
    """Leave what a profile leaves whose trunk raises at its first step."""
    run.run_dir.begin("profile", run.config)
    run.run_dir.write_bytes(".ray/profile/.validate_storage_marker", b"")


def test_settings_may_be_mended_after_a_profile_that_ended_before_its_first_epoch(
    quiet: Reporter, tmp_path: Path
) -> None:
    run = run_with(tmp_path, quiet, model={"trunk": nn.Linear(3, 4)})
    fail(run)
    again = run_with(tmp_path, quiet, model={"trunk": "mlp"}, profile={"epochs": 3})
    anew = run_with(tmp_path / "anew", quiet, model={"trunk": "mlp"}, profile={"epochs": 3})
    assert again.config.model_dump() == anew.config.model_dump(), (
        "what is left to auto is settled by the trunk that it has now"
    )
    assert again.config.profile.lr != run_with(tmp_path / "other", quiet, model={"trunk": "linear"}).config.profile.lr


def test_checkpoints_are_not_discarded(quiet: Reporter, tmp_path: Path) -> None:
    run = run_with(tmp_path, quiet, model={"trunk": nn.Linear(3, 4)})
    fail(run)
    run.run_dir.write_bytes(".ray/profile/checkpoint_1/network.pt", b"")
    with pytest.raises(sr.InputError, match=r"\(model.trunk is given in Python, now another or with other code"):
        run_with(tmp_path, quiet, model={"trunk": nn.Linear(3, 5)})
    with pytest.raises(sr.InputError, match=r"\(profile.epochs is 'auto', now 3\)"):
        run_with(tmp_path, quiet, model={"trunk": run.config.model.trunk}, profile={"epochs": 3})


def test_a_file_with_a_trunk_may_be_mended_but_not_the_data(
    quiet: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("trunk_that_is_mended.py").write_text(TRUNK)
    np.savez("mine.npz", inputs=TASKS.inputs, labels=LABELS)
    config = {"data": {"npz": "mine.npz"}, "model": {"trunk": "trunk_that_is_mended:trunk"}}
    fail(sr.run(config, "run", until="parts", reporter=quiet))
    Path("trunk_that_is_mended.py").write_text(f"{TRUNK}# mended\n")
    sr.run(config, "run", until="parts", reporter=quiet)
    np.savez("mine.npz", inputs=TASKS.inputs, labels=1 - LABELS)
    with pytest.raises(sr.InputError, match=r"what data.npz names has changed"):
        sr.run(config, "run", until="parts", reporter=quiet)
    np.savez("mine.npz", inputs=TASKS.inputs, labels=LABELS)
    run = sr.run(config, "run", until="parts", reporter=quiet)
    run.run_dir.mark_done("profile", run.config, 1.0)
    Path("trunk_that_is_mended.py").write_text(f"{TRUNK}# changed\n")
    with pytest.raises(sr.InputError, match=r"what model.trunk names has changed"):
        sr.run(config, "run", until="parts", reporter=quiet)


def test_networks_of_a_trunk_that_is_another_now_are_warned_of(
    quiet: Reporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would predict by its code of now with the weights of then, and nothing would show it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("trunk_that_is_another.py").write_text(TRUNK)
    run = run_with(tmp_path / "run", quiet, model={"trunk": "trunk_that_is_another:trunk"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_trunk(run.run_dir, run.config)
    Path("trunk_that_is_another.py").write_text(f"{TRUNK}# changed\n")
    with pytest.warns(UserWarning, match="the file of trunk_that_is_another:trunk has changed since .* was trained"):
        warn_of_other_trunk(run.run_dir, run.config)
    run.run_dir.delete(SOURCES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_trunk(run.run_dir, run.config)
