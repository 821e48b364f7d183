"""How far trainings are, as trials of Ray Tune report it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.retraining.watch import Watch


def test_progress_does_not_fall_where_a_trial_is_tried_again(tmp_path: Path) -> None:
    watch = Watch(RunDir(str(tmp_path)), sr.load_config("digits"), "retrain")
    one, other = SimpleNamespace(trial_id="one"), SimpleNamespace(trial_id="other")
    for trial, epoch in ((one, 5), (other, 3), (one, 2), (other, 4), (one, 7)):
        watch.on_trial_result(trial=trial, result={"epoch": epoch})
        assert watch.epochs_of_trial[trial.trial_id] == max(epoch, 5 if trial is one else 0)
    watch.on_trial_result(trial=other, result={})
    assert watch.epochs_of_trial == {"one": 7, "other": 4}


def test_epochs_of_an_interrupted_run_are_told_from_those_of_an_own_try(tmp_path: Path) -> None:
    watch = Watch(RunDir(str(tmp_path)), sr.load_config("digits"), "retrain")
    one, other = SimpleNamespace(trial_id="one"), SimpleNamespace(trial_id="other")
    for trial, result in ((one, {"epoch": 5, "before": 5}), (one, {"epoch": 9}), (other, {"epoch": 2})):
        watch.on_trial_result(trial=trial, result=result)
    for trial in (one, other):  # killed, and tried again from their last checkpoints
        watch.on_trial_result(trial=trial, result={"epoch": 1, "before": 1})
    assert watch.before == {"one": 5}
    assert watch.epochs_of_trial == {"one": 9, "other": 2}
