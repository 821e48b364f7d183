"""Tuning mends a bad configuration, is never worse on validation rows, and ends alike however it is disturbed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stg_ray as sr
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.tuned import as_tuned
from stg_ray.data.parts import write_parts
from stg_ray.errors import InputError, StgRayError
from stg_ray.pipeline import run_stage
from stg_ray.progress import Reporter
from stg_ray.report.tuning import Tuning
from stg_ray.retraining import all_tasks
from stg_ray.retraining.all_tasks import AllTaskNetworks
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.stages import TUNING
from stg_ray.tasks import TaskSet
from stg_ray.training.compute import training_process
from stg_ray.tuning import run as tune
from tests.support.processes import Program

TRAINING = {"epochs": 9, "batch_size": 32, "precision": "float32", "memory_format": "contiguous", "weight_decay": 1e-4}
ABSURD: dict[str, Any] = {
    "data": {"npz": "by hand"},
    "model": {"trunk": "mlp", "width": 16, "dropout": 0.0},
    "profile": {**TRAINING, "lr": 1e-7, "workers": 1},
    "retrain": {**TRAINING, "lr": 1e-7, "plans": ["all_in_one"]},
    "tune": {"trials": 8, "space": {"lr": [1e-4, 1e-1], "dropout": [0.0, 0.3]}},
}


@pytest.fixture
def run(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> RunDir:
    """A run whose parts are laid out, without those of the test rows: whatever reads them fails."""
    run = RunDir(tmp_path / "run")
    write_parts(make_task_set(missing=0.1), run.sub("parts"))
    for name in run.list("parts"):
        if name.startswith("test"):
            run.delete(f"parts/{name}")
    return run


def tuned(run: RunDir, config: sr.Config, quiet: Reporter) -> dict[str, Any]:
    """Tune as the pipeline does; the content of tune.json."""
    run.write_config(config)
    run.begin("tune", config)
    with quiet.stage("tune") as progress:
        tune(run, config, progress, networks=AllTaskNetworks)
    run.mark_done("tune", config, 1.0)
    found: dict[str, Any] = run.read_json(TUNING)
    return found


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> list[NetworkSpec]:
    """Networks are trained in this process, one after the other; those that were."""
    trained: list[NetworkSpec] = []

    def run_trials(
        run: RunDir, config: sr.Config, specs: list[NetworkSpec], progress: object, what: str
    ) -> dict[str, str]:
        del progress, what
        reasons = {}
        for spec in specs:
            trained.append(spec)
            try:
                with training_process(1):
                    train_network(run, config, spec, device="cpu", report=lambda *_: None)
            except StgRayError as error:
                reasons[network_folder(spec, config)] = str(error)
        return reasons

    monkeypatch.setattr(all_tasks, "run_trials", run_trials)
    return trained


@pytest.mark.usefixtures("one_by_one")
def test_an_absurd_learning_rate_is_mended_without_a_look_at_test_rows(run: RunDir, quiet: Reporter) -> None:
    config = sr.load_config(ABSURD)
    found = tuned(run, config, quiet)
    assert found["score"] > found["as_configured"] + 0.2
    assert found["rounds"] == [{"trials": 8, "until": 3}, {"trials": 4, "until": "end"}]
    mended = as_tuned(run, config)
    assert mended.profile.lr == mended.retrain.lr == found["found"]["lr"] > 1e-4
    assert mended.model.dropout == found["found"]["dropout"]
    assert mended.model.width == 16, "what is not searched stays"
    words = Tuning(found)
    assert "(was 1e-07)" in words.sentence
    assert words.rows[0][0] == str(found["chosen"])
    assert "given" in [row[0] for row in words.rows]


@pytest.mark.usefixtures("one_by_one")
def test_a_plan_with_what_was_found_goes_on_from_the_trial(run: RunDir, quiet: Reporter) -> None:
    """Its network is the trial's, whose checkpoint is kept; those of the others are not."""
    config = sr.load_config(ABSURD)
    found = tuned(run, config, quiet)
    tasks = tuple(f"block {block} task {member}" for block in range(2) for member in range(3))
    folder = network_folder(NetworkSpec("all_in_one", 0, tasks, 0, 0, 9), as_tuned(run, config))
    assert run.read_json(f"{folder}/course.json")["ended"] == "number"
    kept = [name for name in run.list(".networks") if run.exists(f".networks/{name}/checkpoint.pt")]
    assert kept == [folder.removeprefix(".networks/")]
    assert max(run.read_json(f"{folder}/course.json")["scores"]) == found["score"]


def test_where_nothing_is_better_the_configuration_stays(
    run: RunDir, quiet: Reporter, one_by_one: list[NetworkSpec]
) -> None:
    space = {"lr": [1e-8, 2e-8]}
    config = sr.load_config({**ABSURD, "profile": {**TRAINING, "lr": 0.02}, "tune": {"trials": 3, "space": space}})
    found = tuned(run, config, quiet)
    assert (found["chosen"], found["found"]) == (0, {})
    assert as_tuned(run, config) == config
    assert "none of 2 other settings is better" in Tuning(found).sentence
    n_trained = len(one_by_one)
    run.delete(TUNING)
    assert tuned(run, config, quiet) == found
    assert len(one_by_one) == n_trained, "scores of before are found again"


@pytest.mark.usefixtures("one_by_one")
def test_trials_that_fail_are_named_and_take_no_other_down(run: RunDir, quiet: Reporter) -> None:
    training = {**TRAINING, "lr": 1e30, "optimizer": "sgd"}
    config = sr.load_config({**ABSURD, "profile": training, "tune": {"trials": 4, "space": {"lr": [1e-3, 1e-1]}}})
    found = tuned(run, config, quiet)
    assert found["chosen"] > 0
    assert found["as_configured"] is None
    assert "non-finite" in found["trials"][0]["failed"]
    assert "as configured it cannot be trained" in Tuning(found).sentence
    assert [row[-1] for row in Tuning(found).rows if row[0] == "given"] == ["failed"]
    bad = sr.load_config({**ABSURD, "profile": training, "tune": {"trials": 2, "space": {"lr": [1e30, 1e31]}}})
    with pytest.raises(StgRayError, match=r"no trial of tuning could be trained to its end \(trial 0: the loss of"):
        tuned(run, bad, quiet)


def test_without_a_score_or_a_choice_there_is_nothing_to_tune(
    make_task_set: Callable[..., TaskSet], quiet: Reporter, tmp_path: Path
) -> None:
    task_set = make_task_set()
    task_set.labels[task_set.rows("val")] = 1
    run = RunDir(tmp_path)
    write_parts(task_set, run.sub("parts"))
    with pytest.raises(InputError, match="no task has one there"):
        tuned(run, sr.load_config(ABSURD), quiet)
    same = {**ABSURD, "tune": {"trials": 4, "space": {"width": [16]}}}
    write_parts(make_task_set(), run.sub("parts"))
    with pytest.raises(InputError, match="no values but those that are configured"):
        tuned(run, sr.load_config(same), quiet)


SETTINGS = (
    *("data.limit=300", "profile.epochs=9", "profile.workers=1", "profile.precision=float32", "tune.trials=8"),
    *("affinity.methods=[label_correlation]", "retrain.epochs=9", "retrain.seeds=1", "retrain.precision=float32"),
    "retrain.plans=[all_in_one]",
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("one_by_one")
def test_killed_in_the_middle_the_same_command_finds_what_is_found_one_by_one(tmp_path: Path, quiet: Reporter) -> None:
    """Without anything of Ray Tune's in the output; later stages and `sr.load` take what was found."""
    arguments = [word for setting in SETTINGS for word in ("--set", setting)]
    killed = Program("run", "digits", *arguments, "--out", "run", log=tmp_path / "a", cwd=tmp_path)
    killed.wait_until(lambda: len(list((tmp_path / "run" / ".networks").glob("*/course.json"))) >= 3)
    killed.kill()
    run = RunDir(tmp_path / "run")
    assert not run.exists(TUNING), "too late"
    again = Program("run", "digits", *arguments, "--out", "run", log=tmp_path / "b", cwd=tmp_path)
    assert again.wait() == 0, again.output
    for chatter in ("Ray", "WARNING", "pid=", "Traceback", "╭", "Trial status"):
        assert chatter not in again.output
    assert "Tuning: trial" in again.output
    assert "Tuning: trial" in (tmp_path / "run" / "report.html").read_text()
    assert not run.exists(".ray/tune")
    config = run.read_config()
    assert config.model.width == 10, "the file keeps the configuration as it was given"
    predictor = sr.load(tmp_path / "run")
    assert np.isfinite(predictor.predict(np.zeros((1, 1, 8, 8), np.uint8)).array).all()
    alone = RunDir(tmp_path / "alone")
    shutil.copytree(tmp_path / "run" / "parts", tmp_path / "alone" / "parts")
    assert tuned(alone, config, quiet) == run.read_json(TUNING)
    with pytest.raises(InputError, match=r"--set changes retrain\.lr, which tuning found a value for"):
        run_stage("retrain", run.uri, overrides=["retrain.lr=0.5"], reporter=quiet)
