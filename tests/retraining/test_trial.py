"""One network's training: what is finished is kept, what is interrupted goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import read_index, write_parts
from stg_ray.data.rows import TaskRows
from stg_ray.errors import StgRayError
from stg_ray.models import OutputLayout, build_network, load_weights, save_network
from stg_ray.retraining.held_out import HeldOut, halves
from stg_ray.retraining.kept import is_finished, network_folder, scores_until
from stg_ray.retraining.scoring import scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import publish
from stg_ray.retraining.trial import train_network
from stg_ray.serving import load_network
from stg_ray.tasks import Task, TaskSet
from stg_ray.training.evaluation import evaluate
from tests.support.events import events_of

SPEC = NetworkSpec("ours", 1, ("block 0 task 0", "block 0 task 2", "block 1 task 1"), seed=5, draws=5, epochs=6)


@pytest.fixture
def config() -> Config:
    values = {
        "data": {"npz": "planted"},
        "model": {"width": 16},
        "retrain": {"epochs": 6, "batch_size": 16, "lr": 0.01},
    }
    return load_config(values)


class _Stopped(Exception):
    pass


def stop_after(epoch: int) -> Callable[[int], None]:
    def report(done: int) -> None:
        if done == epoch:
            raise _Stopped

    return report


def test_an_interrupted_training_ends_like_an_undisturbed_one(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    runs = [Storage(tmp_path / name) for name in ("whole", "stopped")]
    for run in runs:
        write_parts(make_task_set(missing=0.2), run.sub("parts"))
    train_network(runs[0], config, SPEC, device="cpu", report=lambda _: None)
    with pytest.raises(_Stopped):
        train_network(runs[1], config, SPEC, device="cpu", report=stop_after(4))
    folder = network_folder(SPEC, config)
    assert not is_finished(runs[1], folder)
    epochs: list[int] = []
    train_network(runs[1], config, SPEC, device="cpu", report=epochs.append)
    assert epochs == [5, 6]
    weights = [load_weights(run, f"{folder}/network.pt") for run in runs]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    results = [run.read_json(f"{folder}/network.json") for run in runs]
    assert results[0]["scores"] == results[1]["scores"]
    assert not runs[1].exists(f"{folder}/checkpoint.pt")


def test_tensorboard_has_the_scores_of_every_epoch_of_a_published_network(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    write_parts(make_task_set(), run.sub("parts"))
    train_network(run, config, SPEC, device="cpu", report=lambda _: None)
    (network,) = publish(run, config, [SPEC])
    (file,) = (tmp_path / SPEC.folder).glob("events.*")
    found = {(value.tag, event.step): value.simple_value for event in events_of(file) for value in event.summary.value}
    assert network["scores_by_epoch"][network["best_epoch"] - 1] == max(network["scores_by_epoch"])
    for epoch, score in enumerate(network["scores_by_epoch"], start=1):
        assert found["validation/score", epoch] == pytest.approx(score, rel=1e-5)
    assert found["best_epoch", 6] == network["best_epoch"]
    publish(run, config, [SPEC])
    assert len(list((tmp_path / SPEC.folder).glob("events.*"))) == 1, "published again, not added to"


def test_a_paused_training_goes_on_and_ends_like_an_undisturbed_one(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    """Until it goes on, no test row is read; a pause that is behind it has the scores of then."""
    runs = [Storage(tmp_path / name) for name in ("whole", "paused")]
    for run in runs:
        write_parts(make_task_set(missing=0.2), run.sub("parts"))
    run, folder, report = runs[1], network_folder(SPEC, config), lambda _: None
    train_network(runs[0], config, SPEC, device="cpu", report=report)
    test_parts = {name: run.read_bytes(f"parts/{name}") for name in run.list("parts") if name.startswith("test")}
    for name in test_parts:
        run.delete(f"parts/{name}")
    epochs: list[int] = []
    for pause in (4, 2, 4):
        train_network(run, config, replace(SPEC, pause=pause), device="cpu", report=epochs.append)
        scores = scores_until(run, folder, pause)
        assert scores is not None
        assert len(scores) == pause
    assert epochs == [1, 2, 3, 4]
    assert scores_until(run, folder, "end") is None
    assert not is_finished(run, folder)
    for name, data in test_parts.items():
        run.write_bytes(f"parts/{name}", data)
    weights, about = trained(run, config, SPEC)
    expected, reference = trained(runs[0], config, SPEC)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    assert about["scores"] == reference["scores"]


def test_settings_of_a_network_are_those_of_a_configuration_with_them(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run, own = Storage(tmp_path), replace(SPEC, settings=(("lr", 0.1), ("width", 5)), pause=1)
    write_parts(make_task_set(), run.sub("parts"))
    same = set_values(config, ["retrain.lr=0.1", "model.width=5"])
    assert own.fingerprint(config) == SPEC.fingerprint(same) != SPEC.fingerprint(config)
    assert NetworkSpec.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    assert SPEC.to_dict().keys() == own.to_dict().keys() - {"settings", "pause"}
    train_network(run, config, own, device="cpu", report=lambda _: None)
    train_network(run, same, SPEC, device="cpu", report=lambda _: None)
    assert len(run.list(".networks")) == 1


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


@pytest.mark.parametrize("stop", [3, 9])
def test_a_training_of_auto_length_ends_alike_wherever_it_is_interrupted(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path, stop: int
) -> None:
    """Also after the learning rate was lowered."""
    config = set_values(
        config, ["retrain.epochs=auto", "retrain.patience=2", "retrain.min_steps=20", "retrain.max_epochs=30"]
    )
    spec = replace(SPEC, epochs="auto")
    runs = [Storage(tmp_path / name) for name in ("whole", "stopped")]
    for run in runs:
        write_parts(make_task_set(missing=0.2), run.sub("parts"))
    expected, about = trained(runs[0], config, spec)
    index = read_index(runs[0].sub("parts"))
    rows = TaskRows(runs[0].sub("parts"), index, "train", [index.names.index(name) for name in spec.tasks])
    assert (about["ended"], about["cost"]) == ("plateau", len(rows) * about["epochs"] * about["parameters"])
    assert stop < about["epochs"] < 30
    with pytest.raises(_Stopped):
        train_network(runs[1], config, spec, device="cpu", report=stop_after(stop))
    weights, again = trained(runs[1], config, spec)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    without = {"seconds": 0, "files": None, "digest": None}  # of the seconds, too
    assert {**again, **without} == {**about, **without}


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


def test_a_network_learns_and_a_finished_one_is_not_trained_again(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(n_samples=600), run.sub("parts"))
    train_network(run, config, SPEC, device="cpu", report=lambda _: None)
    result = run.read_json(f"{network_folder(SPEC, config)}/network.json")
    assert set(result["scores"]["test"]) == set(SPEC.tasks)
    assert min(scores["roc_auc"] for scores in result["scores"]["test"].values()) > 0.85
    epochs: list[int] = []
    train_network(run, config, SPEC, device="cpu", report=epochs.append)
    assert epochs == []


def trained(run: Storage, config: Config, spec: NetworkSpec) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a network, and what is known of it."""
    train_network(run, config, spec, device="cpu", report=lambda _: None)
    folder = network_folder(spec, config)
    return load_weights(run, f"{folder}/network.pt"), run.read_json(f"{folder}/network.json")


def test_a_network_starts_from_the_profile_trunk_and_heads(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    """At a learning rate that changes nothing, what is trained is what it started from."""
    run = Storage(tmp_path)
    index = write_parts(make_task_set(), run.sub("parts"))
    profiled = build_network(config.model, index, index.tasks, 77)
    save_network(run, "profile/network.pt", profiled)
    config = set_values(config, ["retrain.lr=1e-30", "retrain.weight_decay=0"])
    rows = [index.names.index(name) for name in SPEC.tasks]
    for start, same in ((None, False), ("a digest", True)):
        weights, _ = trained(run, config, replace(SPEC, start=start, epochs=1))
        assert torch.equal(weights["trunk.1.weight"], profiled.state_dict()["trunk.1.weight"]) == same
        assert torch.equal(weights["heads.weight"], profiled.state_dict()["heads.weight"][rows]) == same
        assert torch.equal(weights["heads.bias"], profiled.state_dict()["heads.bias"][rows]) == same


def test_a_training_that_only_harms_ends_with_the_profile(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    index = write_parts(make_task_set(n_samples=600), run.sub("parts"))
    one = NetworkSpec("all_in_one", 0, tuple(index.names), 0, 0, 6)
    all_tasks, _ = trained(run, config, one)
    run.copy(f"{network_folder(one, config)}/network.pt", "profile/network.pt")
    warm = replace(SPEC, start="a digest")
    weights, about = trained(run, set_values(config, ["retrain.lr=5"]), warm)
    assert about["best_epoch"] == 0
    assert torch.equal(weights["trunk.1.weight"], all_tasks["trunk.1.weight"])
    trained(run, config, warm)
    columns = [index.names.index(name) for name in warm.tasks]
    rows = TaskRows(run.sub("parts"), index, "val", columns)
    values = []
    for settings in (set_values(config, ["retrain.lr=5"]), config):
        kept = load_network(run, settings, index, warm.tasks, network_folder(warm, settings))
        scores = scores_of(kept.layout, evaluate(kept, rows.inputs), rows.labels)
        values.append(sum(own["average_precision"] for own in scores.values()) / 3)
    assert 0.7 < values[0] <= values[1], "by the score that the epoch is chosen by"


def test_networks_from_the_profile_have_their_own_learning_rate(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    index = write_parts(make_task_set(), run.sub("parts"))
    save_network(run, "profile/network.pt", build_network(config.model, index, index.tasks, 77))
    warm = replace(SPEC, start="a digest")
    found = [
        trained(run, set_values(config, [f"retrain.lr={lr}", f"retrain.profiled_lr={share}"]), warm)[0]
        for lr, share in ((0.01, 0.5), (0.005, 1.0), (0.01, 1.0))
    ]
    assert torch.equal(found[0]["heads.weight"], found[1]["heads.weight"])
    assert not torch.equal(found[0]["heads.weight"], found[2]["heads.weight"])


def test_a_task_that_hardly_counts_is_hardly_learned(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(n_samples=600), run.sub("parts"))
    spec = replace(SPEC, weights=(1.0, 1e-6, 1.0))
    train_network(run, set_values(config, ["retrain.optimizer=sgd"]), spec, device="cpu", report=lambda _: None)
    heads = load_weights(run, f"{network_folder(spec, set_values(config, ['retrain.optimizer=sgd']))}/network.pt")
    start = build_network(config.model, read_index(run.sub("parts")), [Task(name) for name in SPEC.tasks], SPEC.draws)
    moved = (heads["heads.weight"] - start.heads.weight.detach()).abs().mean(dim=1)
    assert moved[1] < 0.1 * min(moved[0], moved[2])


def test_without_a_validation_score_the_last_epoch_is_taken(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    """A label so rare that no validation row has it must not freeze its network at the first epoch."""
    task_set = make_task_set()
    task_set.labels[task_set.rows("val")] = 0
    run = Storage(tmp_path)
    write_parts(task_set, run.sub("parts"))
    train_network(run, config, SPEC, device="cpu", report=lambda _: None)
    assert run.read_json(f"{network_folder(SPEC, config)}/network.json")["best_epoch"] == SPEC.epochs
    about = trained(run, set_values(config, ["retrain.min_steps=14"]), replace(SPEC, epochs="auto"))[1]
    assert (about["ended"], about["epochs"], about["best_epoch"]) == ("number", 4, 4), "four times the least steps"


def test_a_loss_that_is_no_number_stops_with_the_tasks_name(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(), run.sub("parts"))
    config = set_values(config, ["retrain.lr=1.0e+38"])
    with pytest.raises(StgRayError, match=r"task 'block 0 task 0' became non-finite in epoch 1"):
        train_network(run, config, SPEC, device="cpu", report=lambda _: None)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_network_with_branches_is_trained_kept_and_loaded(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path, frozen: bool
) -> None:
    config = set_values(config, ["retrain.start=profiled", f"retrain.freeze_shared={str(frozen).lower()}"])
    index = write_parts(make_task_set(), (run := Storage(tmp_path)).sub("parts"))
    profiled = build_network(config.model, index, index.tasks, 3)
    save_network(run, "profile/network.pt", profiled)
    spec = replace(SPEC, start="digest", branches=(2, 1))
    with pytest.raises(_Stopped):
        train_network(run, config, spec, device="cpu", report=stop_after(2))
    train_network(run, config, spec, device="cpu", report=lambda _: None)
    folder = network_folder(spec, config)
    loaded = load_network(run, config, index, spec.tasks, folder)
    scores = run.read_json(f"{folder}/network.json")["scores"]["test"]
    rows = TaskRows(run.sub("parts"), index, "test", [index.names.index(name) for name in spec.tasks])
    assert scores_of(loaded.layout, evaluate(loaded, rows.inputs), rows.labels) == scores
    first = next(weight for name, weight in profiled.state_dict().items() if name.startswith("trunk."))
    assert torch.equal(loaded.state_dict()["trunk.1.weight"], first) == frozen
    first, second = (loaded.state_dict()[f"branches.{g}.0.weight"] for g in (0, 1))
    assert not torch.equal(first, second)


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
        train_network(run, config, spec, device="cpu", report=lambda _: None)
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
