"""Trials that go wrong are named and take no other down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import write_parts
from stg_ray.errors import PartlyFailed
from stg_ray.grouping import group_tasks
from stg_ray.models import load_weights
from stg_ray.progress import Reporter
from stg_ray.report import print_summary, summarize
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.plans import make_plans, network_specs
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import _lengths
from stg_ray.retraining.stage import run as retrain
from stg_ray.retraining.trial import train_network
from stg_ray.retraining.trials import run_trials
from tests.support.processes import kill_a_worker

STRANGE = 100.0
RECIPE = {"lr": 5e-3, "weight_decay": 1e-4}


class StrangeTrunk(torch.nn.Module):
    """Raises at inputs that begin with a large number."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if bool((inputs[:, 0] > 1).any()):
            raise ValueError("an input that this trunk does not take")
        return inputs


def strange_trunk(_input_shape: tuple[int, ...]) -> torch.nn.Module:
    return StrangeTrunk()


def task_set() -> sr.TaskSet:
    """Two good tasks; one whose loss overflows; one with rows of its own, which the trunk does not take."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(300, 4))
    labels = (inputs[:, [0, 1, 2, 3]] + 0.1 * rng.normal(size=(300, 4)) > 0).astype(np.int8)
    strange = np.arange(300) % 3 == 0
    inputs[strange, 0] = STRANGE
    labels[strange, :3] = -1
    labels[~strange, 3] = -1
    names = ["good", "also good", "overflows", "strange"]
    weights = [None, None, (3e38, 3e38), None]
    return sr.TaskSet.from_arrays(inputs, labels, names=names, class_weights=weights, missing=[-1])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_bad_trials_are_named_and_the_others_are_kept(quiet: Reporter, tmp_path: Path) -> None:
    config = sr.load_config(
        {
            "data": {"npz": "by hand"},
            "model": {"trunk": "tests.retraining.test_trials:strange_trunk"},
            "retrain": {"epochs": 2, "plans": ["ours", "all_in_one"], "max_failures": 1, **RECIPE},
        }
    )
    run = RunDir(tmp_path)
    run.write_config(config)
    tasks = task_set()
    write_parts(tasks, run.sub("parts"))
    run.write_bytes("profile/network.pt", b"no plan starts from it")
    groups = Groups.from_labels(tasks.names, np.array([0, 0, 1, 2]), "by hand")
    run.write_json("groups.json", groups.to_dict())
    with (
        quiet.stage("retrain") as progress,
        pytest.raises(PartlyFailed, match=r"3 of 4 networks could not be trained.*the others are kept"),
    ):
        retrain(run, config, progress, group_tasks=group_tasks)
    assert progress.summary == "1 network of 2 plans; 3 failed"
    failures = {(own["plan"], own["group"]): own["reason"] for own in run.read_json("failures.json")}
    assert set(failures) == {("ours", 1), ("ours", 2), ("all_in_one", 0)}
    assert "task 'overflows' became non-finite in epoch 1" in failures["ours", 1]
    assert "an input that this trunk does not take" in failures["ours", 2]
    results = run.read_parquet("results.parquet").to_pandas()
    assert set(results["task"]) == {"good", "also good"}
    assert results["value"].notna().all()
    errors = {path.parent.name: path.read_text() for path in tmp_path.glob(".ray/retrain/*/error.txt")}
    assert len(errors) == 2, "a loss that is no number is no failure of Tune's, which would try again"
    assert all(text.count("Failure # 2") == 1 for text in errors.values())
    summary = summarize(run, config)
    assert summary.plans == [], "a mean over the tasks that are left would mislead"
    with (tmp_path / "terminal").open("w") as file:
        print_summary(Console(file=file, width=100), summary)
    assert "failed, left out: ours group 1 seed 0: the loss of task 'overflows'" in (tmp_path / "terminal").read_text()


class SlowTrunk(torch.nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            time.sleep(0.05)
        return inputs


def slow_trunk(_input_shape: tuple[int, ...]) -> torch.nn.Module:
    return SlowTrunk()


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_several_workers_train_the_network_that_one_would(
    quiet: Reporter, make_task_set: Callable[..., sr.TaskSet], tmp_path: Path
) -> None:
    """Also where one of them is killed, and where a loss is no number."""
    config = sr.load_config(
        {
            "data": {"npz": "by hand"},
            "model": {"trunk": "tests.retraining.test_trials:slow_trunk"},
            "retrain": {"epochs": 6, "plans": ["ours"], "workers": 2, "optimizer": "sgd", **RECIPE},
        }
    )
    run, alone = RunDir(tmp_path / "together"), RunDir(tmp_path / "alone")
    tasks = make_task_set(n_samples=301, blocks=(2, 2), missing=0.1)
    tasks = replace(tasks, tasks=(*tasks.tasks[:3], replace(tasks.tasks[3], class_weights=(3e38, 3e38))))
    for folder in (run, alone):
        folder.write_config(config)
        write_parts(tasks, folder.sub("parts"))
    run.write_bytes("profile/network.pt", b"no plan starts from it")
    groups = Groups.from_labels(tasks.names, np.arange(4) // 2, "by hand")
    run.write_json("groups.json", groups.to_dict())
    killed: list[int] = []
    after_an_epoch = (tmp_path / "together", ".networks/*/checkpoint.pt", "RayTrainW", killed)
    thread = threading.Thread(target=kill_a_worker, args=after_an_epoch, daemon=True)
    thread.start()
    with quiet.stage("retrain") as progress, pytest.raises(PartlyFailed, match=r"became non-finite in epoch 1"):
        retrain(run, config, progress, group_tasks=group_tasks)
    thread.join(timeout=10)
    assert len(killed) == 1
    assert progress.summary == "1 network of 1 plan; 1 failed"
    for spec in network_specs(make_plans(groups, tasks.tasks, config), config):
        if spec.group == 1:
            continue
        train_network(alone, config, spec, device="cpu", report=lambda *_: None)
        own, expected = (load_weights(each, f"{network_folder(spec, config)}/network.pt") for each in (run, alone))
        for key, value in expected.items():
            torch.testing.assert_close(own[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("ray_session")
def test_tune_prints_nothing_of_its_own(
    quiet: Reporter, tmp_path: Path, make_task_set: Callable[..., sr.TaskSet], capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor of a network whose epochs are all done, so that its trial ends without a report."""
    config = sr.load_config({"data": {"npz": "planted"}, "model": {"dropout": 0.0}, "retrain": {"epochs": 2, **RECIPE}})
    run = RunDir(tmp_path)
    index = write_parts(make_task_set(), run.sub("parts"))
    done = NetworkSpec("all_in_one", 0, tuple(index.names), seed=0, draws=0, epochs=2)
    train_network(run, config, replace(done, pause="end"), device="cpu", report=lambda *_: None)
    others = [replace(done, group=1, tasks=done.tasks[:1]), replace(done, group=2, tasks=("no such task",))]
    capfd.readouterr()
    with quiet.stage("retrain") as progress:
        failed = run_trials(run, config, [done, *others], progress)
    assert list(failed) == [network_folder(others[1], config)]
    assert is_finished(run, network_folder(done, config))
    assert capfd.readouterr().out == ""


def test_the_length_of_trainings_is_told() -> None:
    plateau = {"epochs": 43, "ended": "plateau"}
    assert _lengths([plateau, plateau]) == "43 epochs, by the score on validation rows"
    assert _lengths([plateau, {"epochs": 60, "ended": "max_epochs"}, {"epochs": 9, "ended": "number"}]) == (
        "9 to 60 epochs, by the score on validation rows; 1 of 3 networks ended at retrain.max_epochs, before a plateau"
        "; 1 of 3 networks had no score on these rows and trained for 4 times retrain.min_steps"
    )
    assert _lengths([{"epochs": 6}]) == "", "the number was given"
