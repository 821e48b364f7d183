"""What each split of the rows decides in a training: validation rows the epoch, test rows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import set_values
from stg_ray.data.parts import read_index, write_parts
from stg_ray.data.rows import TaskRows
from stg_ray.models import OutputLayout
from stg_ray.retraining.held_out import HeldOut, halves
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.scoring import scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.tasks import TaskSet
from tests.support.trials import SPEC, trained


def test_a_network_of_another_fold_is_validated_on_other_rows(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run, own = Storage(tmp_path), replace(SPEC, fold=2)
    write_parts(make_task_set(missing=0.2), run.sub("parts"))
    index = read_index(run.sub("parts"))
    assert own.fingerprint(config) != SPEC.fingerprint(config)
    assert NetworkSpec.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    assert "fold" not in SPEC.to_dict()
    weights, about = trained(run, config, own)
    columns = [index.names.index(name) for name in own.tasks]
    rows = {split: TaskRows(run.sub("parts"), index, split, columns, fold=2) for split in ("train", "val")}
    held_out = HeldOut.read(run, network_folder(own, config))
    assert np.array_equal(held_out.rows, rows["val"].rows)
    layout = OutputLayout([index.tasks[t] for t in columns])
    scores = scores_of(layout, torch.from_numpy(held_out.outputs), rows["val"].labels)
    assert about["scores"]["val"] == scores
    assert about["cost"] == len(rows["train"]) * 6 * about["parameters"]
    assert any(not torch.equal(weights[key], value) for key, value in trained(run, config, SPEC)[0].items())


def test_labels_of_the_test_rows_decide_nothing_but_the_test_scores(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    config = set_values(config, ["retrain.patience=1", "retrain.min_steps=20", "retrain.max_epochs=12"])
    found = []
    for name in ("clean", "poisoned"):
        task_set, run = make_task_set(missing=0.2), Storage(tmp_path / name)
        if name == "poisoned":
            test = task_set.rows("test")
            task_set.labels[test] = np.where(task_set.labels[test] < 0, -1, 1 - task_set.labels[test])
        write_parts(task_set, run.sub("parts"))
        found.append(trained(run, config, replace(SPEC, epochs="auto")))
    (weights, about), (others, again) = found
    assert all(torch.equal(weights[key], others[key]) for key in weights)
    scores = [own.pop("scores") for own in (about, again)]
    without = {"seconds": 0, "digest": None}
    assert {**about, **without} == {**again, **without}
    assert scores[0]["val"] == scores[1]["val"]
    assert scores[0]["test"] != scores[1]["test"], "the poison is in them"


def test_without_a_validation_score_the_last_epoch_is_taken(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    """A label so rare that no validation row has it must not freeze its network at the first epoch."""
    task_set = make_task_set()
    task_set.labels[task_set.rows("val")] = 0
    run = Storage(tmp_path)
    write_parts(task_set, run.sub("parts"))
    train_network(run, config, SPEC, device="cpu", report=lambda *_: None)
    assert run.read_json(f"{network_folder(SPEC, config)}/network.json")["best_epoch"] == SPEC.epochs
    about = trained(run, set_values(config, ["retrain.min_steps=14"]), replace(SPEC, epochs="auto"))[1]
    assert (about["ended"], about["epochs"], about["best_epoch"]) == ("number", 4, 4), "four times the least steps"


@pytest.mark.parametrize("half", [0, 1])
def test_rows_have_no_say_in_the_epoch_that_predicts_them_for_the_score(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path, half: int
) -> None:
    """Other labels of one half of the validation rows leave its outputs alone, and change those of the other."""
    task_set, found = make_task_set(n_samples=300, noise=3.0), []
    spec = replace(SPEC, epochs=12)
    for name in ("as it is", "others"):
        run = Storage(tmp_path / name)
        index = write_parts(task_set, run.sub("parts"))
        train_network(run, config, spec, device="cpu", report=lambda *_: None)
        folder = network_folder(spec, config)
        found.append(HeldOut.read(run, folder))
        scores = run.read_json(f"{folder}/network.json")["scores"]["val"]
        rows = TaskRows(run.sub("parts"), index, "val", columns := [index.names.index(task) for task in spec.tasks])
        layout = OutputLayout([index.tasks[t] for t in columns])
        assert scores_of(layout, torch.from_numpy(found[-1].outputs), rows.labels) == scores
        mine = rows.samples[halves(rows.rows)[half]]
        labels = task_set.labels.copy()
        labels[mine] = np.random.default_rng(3).integers(0, 2, (len(mine), len(task_set.names)))
        task_set = replace(task_set, labels=labels)
    before, after = (own.outputs for own in found)
    own, others = halves(found[0].rows)[half], halves(found[0].rows)[1 - half]
    np.testing.assert_array_equal(before[own], after[own])
    assert not np.array_equal(before[others], after[others])
