"""One network's training: what is finished is kept, what is interrupted goes on where it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stg_ray.artifacts.run_dir import RunDir
from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import set_values
from stg_ray.data.parts import read_index, write_parts
from stg_ray.data.rows import TaskRows
from stg_ray.errors import StgRayError
from stg_ray.models import build_network, load_weights, save_network
from stg_ray.retraining.kept import is_finished, network_folder, scores_until
from stg_ray.retraining.scoring import scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import publish
from stg_ray.retraining.trial import train_network
from stg_ray.serving import load_network
from stg_ray.tasks import Task, TaskSet
from stg_ray.training.evaluation import evaluate
from tests.support.events import events_of
from tests.support.trials import SPEC, Stopped, stop_after, trained


def test_an_interrupted_training_ends_like_an_undisturbed_one(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    runs = [Storage(tmp_path / name) for name in ("whole", "stopped")]
    for run in runs:
        write_parts(make_task_set(missing=0.2), run.sub("parts"))
    train_network(runs[0], config, SPEC, device="cpu", report=lambda *_: None)
    with pytest.raises(Stopped):
        train_network(runs[1], config, SPEC, device="cpu", report=stop_after(4))
    folder = network_folder(SPEC, config)
    assert not is_finished(runs[1], folder)
    epochs: list[int] = []
    train_network(runs[1], config, SPEC, device="cpu", report=lambda epoch, _: epochs.append(epoch))
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
    train_network(run, config, SPEC, device="cpu", report=lambda *_: None)
    (network,) = publish(run, config, [SPEC])
    (file,) = (tmp_path / SPEC.folder).glob("events.*")
    found = {(value.tag, event.step): value.simple_value for event in events_of(file) for value in event.summary.value}
    assert network["course"][network["best_epoch"] - 1] == max(network["course"])
    for epoch, score in enumerate(network["course"], start=1):
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
    run, folder, report = runs[1], network_folder(SPEC, config), lambda *_: None
    train_network(runs[0], config, SPEC, device="cpu", report=report)
    test_parts = {name: run.read_bytes(f"parts/{name}") for name in run.list("parts") if name.startswith("test")}
    for name in test_parts:
        run.delete(f"parts/{name}")
    epochs: list[int] = []
    for pause in (4, 2, 4):
        train_network(
            run, config, replace(SPEC, pause=pause), device="cpu", report=lambda epoch, _: epochs.append(epoch)
        )
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
    train_network(run, config, own, device="cpu", report=lambda *_: None)
    train_network(run, same, SPEC, device="cpu", report=lambda *_: None)
    assert len(run.list(".networks")) == 1


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
    with pytest.raises(Stopped):
        train_network(runs[1], config, spec, device="cpu", report=stop_after(stop))
    weights, again = trained(runs[1], config, spec)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
    without = {"seconds": 0, "files": None, "digest": None}  # of the seconds, too
    assert {**again, **without} == {**about, **without}


def test_a_network_learns_and_a_finished_one_is_not_trained_again(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(n_samples=600), run.sub("parts"))
    train_network(run, config, SPEC, device="cpu", report=lambda *_: None)
    result = run.read_json(f"{network_folder(SPEC, config)}/network.json")
    assert set(result["scores"]["test"]) == set(SPEC.tasks)
    assert min(scores["roc_auc"] for scores in result["scores"]["test"].values()) > 0.85
    epochs: list[int] = []
    train_network(run, config, SPEC, device="cpu", report=lambda epoch, _: epochs.append(epoch))
    assert epochs == []


def test_a_task_that_hardly_counts_is_hardly_learned(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(n_samples=600), run.sub("parts"))
    spec = replace(SPEC, weights=(1.0, 1e-6, 1.0))
    train_network(run, set_values(config, ["retrain.optimizer=sgd"]), spec, device="cpu", report=lambda *_: None)
    heads = load_weights(run, f"{network_folder(spec, set_values(config, ['retrain.optimizer=sgd']))}/network.pt")
    start = build_network(config.model, read_index(run.sub("parts")), [Task(name) for name in SPEC.tasks], SPEC.draws)
    moved = (heads["heads.weight"] - start.heads.weight.detach()).abs().mean(dim=1)
    assert moved[1] < 0.1 * min(moved[0], moved[2])


def test_a_loss_that_is_no_number_stops_with_the_tasks_name(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run = Storage(tmp_path)
    write_parts(make_task_set(), run.sub("parts"))
    config = set_values(config, ["retrain.lr=1.0e+38"])
    with pytest.raises(StgRayError, match=r"task 'block 0 task 0' became non-finite in epoch 1"):
        train_network(run, config, SPEC, device="cpu", report=lambda *_: None)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_network_with_branches_is_trained_kept_and_loaded(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path, frozen: bool
) -> None:
    config = set_values(config, ["retrain.start=profiled", f"retrain.freeze_shared={str(frozen).lower()}"])
    index = write_parts(make_task_set(), (run := Storage(tmp_path)).sub("parts"))
    profiled = build_network(config.model, index, index.tasks, 3)
    save_network(run, "profile/network.pt", profiled)
    spec = replace(SPEC, start="digest", branches=(2, 1))
    with pytest.raises(Stopped):
        train_network(run, config, spec, device="cpu", report=stop_after(2))
    train_network(run, config, spec, device="cpu", report=lambda *_: None)
    folder = network_folder(spec, config)
    loaded = load_network(run, config, index, spec.tasks, folder)
    scores = run.read_json(f"{folder}/network.json")["scores"]["test"]
    rows = TaskRows(run.sub("parts"), index, "test", [index.names.index(name) for name in spec.tasks])
    assert scores_of(loaded.layout, evaluate(loaded, rows.inputs), rows.labels) == scores
    first = next(weight for name, weight in profiled.state_dict().items() if name.startswith("trunk."))
    assert torch.equal(loaded.state_dict()["trunk.1.weight"], first) == frozen
    first, second = (loaded.state_dict()[f"branches.{g}.0.weight"] for g in (0, 1))
    assert not torch.equal(first, second)


def test_a_worker_loads_neither_a_compiler_nor_what_its_driver_alone_needs(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    """Every process loads anew what it imports: torch's compiler takes a second, scikit-learn most of one."""
    write_parts(make_task_set(), Storage(tmp_path).sub("parts"))
    program = f"""
import sys
from stg_ray.retraining.trials import Config, NetworkSpec, RunDir, train_networks
config, spec = Config.model_validate({config.model_dump()!r}), NetworkSpec.from_dict({SPEC.to_dict()!r})
train_networks(RunDir({str(tmp_path)!r}), config, [spec], device="cpu", report=lambda *_: None)
print([name for name in ("torch._dynamo", "sklearn", "scipy", "plotly") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
