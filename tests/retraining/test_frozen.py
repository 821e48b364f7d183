"""What is trained on features of frozen layers ends like the whole network with these layers frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.storage import Storage
from stg_ray.checks import check
from stg_ray.config import Config
from stg_ray.config.loading import load_config, set_values
from stg_ray.data.parts import read_index, read_part, write_parts
from stg_ray.errors import InputError
from stg_ray.models import build_network, save_network, split_network
from stg_ray.progress import Reporter
from stg_ray.retraining.frozen import features_folder, features_of, parts_of_features, write_index, write_part
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.search.features import write_features
from stg_ray.retraining.trial import train_network, train_networks
from stg_ray.tasks import TaskSet
from tests.retraining.search.test_runs import opposites
from tests.support.trials import SPEC

MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"trunk": "mlp", "depth": 3, "width": 16},
    "cnn": {"trunk": "cnn", "depth": 2, "width": 8},
    "resnet": {"trunk": "resnet18"},
}


def images(make_task_set: Callable[..., TaskSet], n_samples: int = 300) -> TaskSet:
    """The task set with inputs as images of 8 x 8 bytes."""
    plain = make_task_set(missing=0.2, n_samples=n_samples)
    flat = np.repeat(np.asarray(plain.inputs), 6, axis=1)[:, :64]
    pixels = np.clip(128 + 40 * flat, 0, 255).astype(np.uint8).reshape(-1, 1, 8, 8)
    return replace(plain, inputs=pixels)


def of_model(config: Config, name: str) -> Config:
    return set_values(config, [f"model.{key}={value}" for key, value in MODELS[name].items()])


def profiled(run: Storage, config: Config, task_set: TaskSet) -> None:
    """Parts, and a network that passes for the profiled one, with statistics of a batch."""
    index = write_parts(task_set, run.sub("parts"))
    network = build_network(config.model, index, index.tasks, 3)
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(np.asarray(task_set.inputs[:64])))
    save_network(run, "profile/network.pt", network)


def all_features(run: Storage, config: Config, share: float) -> str:
    """Write the features in this process."""
    index, folder = read_index(run.sub("parts")), features_folder(run, "digest", share)
    for part in parts_of_features(index):
        write_part(run, config, folder, share, *part, "cpu")
    write_index(run, folder)
    return folder


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_two_parts_of_a_network_are_the_network(
    make_task_set: Callable[..., TaskSet], config: Config, model: str, share: float, tmp_path: Path
) -> None:
    task_set = make_task_set() if model == "mlp" else images(make_task_set)
    index = write_parts(task_set, Storage(tmp_path))
    network = build_network(of_model(config, model).model, index, index.tasks, 3).eval()
    inputs = np.asarray(task_set.inputs[:300])
    state = torch.get_rng_state()
    lower, above = split_network(network, share)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn"
    features = features_of(lower, inputs)
    assert len(features) == 300, "more than a block"
    with torch.no_grad():
        torch.testing.assert_close(above(torch.from_numpy(features)), network(torch.from_numpy(inputs)))
    assert 0 < above.n_parameters < network.n_parameters


@pytest.mark.parametrize(("model", "share"), [("mlp", 0.3), ("mlp", 0.7), ("cnn", 0.5), ("resnet", 0.6)])
def test_it_ends_like_the_whole_network_with_these_layers_frozen(
    make_task_set: Callable[..., TaskSet], config: Config, model: str, share: float, tmp_path: Path
) -> None:
    config = set_values(
        of_model(config, model),
        ["retrain.freeze_shared=true", f"retrain.shared_layers={share}", "retrain.start=profiled"],
    )
    run = Storage(tmp_path)
    of_images = images(make_task_set, 120 if model == "resnet" else 300) if model != "mlp" else None
    profiled(run, config, of_images or make_task_set(missing=0.2))
    folder = all_features(run, config, share)
    of_features = read_index(run.sub(folder))
    assert (of_features.rows, of_features.names) == ((index := read_index(run.sub("parts"))).rows, index.names)
    n_epochs = 3 if model == "mlp" else 2
    probe = replace(SPEC, start="digest", probe=True, epochs=n_epochs)
    scores = []
    for spec in (replace(probe, frozen=share), replace(probe, branches=(len(SPEC.tasks),))):
        train_network(run, config, spec, device="cpu", report=lambda *_: None)
        scores.append(run.read_json(f"{network_folder(spec, config)}/network.json")["scores"]["val"])
    for task in SPEC.tasks:
        assert scores[0][task] == pytest.approx(scores[1][task], abs=1e-4), task
    free = replace(probe, epochs=n_epochs)
    train_network(run, config, free, device="cpu", report=lambda *_: None)
    assert run.read_json(f"{network_folder(free, config)}/network.json")["scores"]["val"] != scores[0]


def test_in_step_they_end_as_alone(make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path) -> None:
    config = of_model(config, "mlp")
    probes = [
        replace(SPEC, start="digest", probe=True, frozen=0.5, tasks=tasks) for tasks in (SPEC.tasks, SPEC.tasks[:2])
    ]
    scores = []
    for name in ("alone", "in step"):
        run = Storage(tmp_path / name)
        profiled(run, config, make_task_set(missing=0.2))
        all_features(run, config, 0.5)
        together = [probes] if name == "in step" else [[probe] for probe in probes]
        for specs in together:
            assert not train_networks(run, config, specs, device="cpu", report=lambda *_: None)
        scores.append([run.read_json(f"{network_folder(p, config)}/network.json")["scores"]["val"] for p in probes])
    for alone, in_step in zip(*scores, strict=True):
        for task, own in alone.items():
            assert own == pytest.approx(in_step[task], abs=1e-5)


def test_features_are_known_by_what_decides_them(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    run, other = Storage(tmp_path / "a"), Storage(tmp_path / "b")
    for storage, seed in ((run, 0), (other, 1)):
        write_parts(make_task_set(seed=seed), storage.sub("parts"))
    folders = {
        features_folder(run, "digest", 0.5),
        features_folder(run, "digest", 0.25),
        features_folder(run, "another", 0.5),
        features_folder(other, "digest", 0.5),
    }
    assert len(folders) == 4
    frozen = replace(SPEC, start="digest", frozen=0.5)
    assert frozen.fingerprint(config) != replace(frozen, frozen=0.25).fingerprint(config)
    assert replace(frozen, frozen=0.0).to_dict() == replace(SPEC, start="digest").to_dict(), "as before"


@pytest.mark.usefixtures("ray_session")
def test_parts_that_are_there_are_not_computed_again(
    make_task_set: Callable[..., TaskSet], config: Config, tmp_path: Path
) -> None:
    config, run = of_model(config, "mlp"), Storage(tmp_path)
    profiled(run, config, make_task_set())
    write_features(run, config, "digest", 0.5)
    folder = tmp_path / features_folder(run, "digest", 0.5)
    written = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.arrow")}
    values = np.array(read_part(Storage(folder), "train", 3).inputs[:])
    (folder / "train-00003.arrow").unlink()
    (folder / "index.json").unlink()
    write_features(run, config, "digest", 0.5)
    again = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.arrow")}
    assert {name for name in written if again[name] != written[name]} == {"train-00003.arrow"}
    np.testing.assert_array_equal(read_part(Storage(folder), "train", 3).inputs[:], values)
    assert not any(name.startswith("test") for name in again)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
def test_a_search_above_frozen_layers(quiet: Reporter, tmp_path: Path) -> None:
    settings = {
        "model": {"trunk": "mlp", "width": 16, "depth": 2},
        "profile": {"epochs": 4, "workers": 1},
        "retrain": {"epochs": 4, "plans": ["searched", "all_in_one"]},
        "search": {"frozen": 0.5, "finalists": 2, "cost": 6.0},
    }
    run = sr.run(opposites(600), str(tmp_path / "run"), settings=settings, until="retrain", reporter=quiet)
    about = run.run_dir.read_json("search.json")
    assert len(about["measured"]) > 4
    assert about["finalists"]
    assert not (tmp_path / "run" / ".features").exists(), "they are of no further use"
    kept = [run.run_dir.read_json(f".networks/{path.parent.name}/network.json") for path in _kept(tmp_path / "run")]
    assert len({network["cost"] / network["epochs"] for network in kept if len(network["tasks"]) == 6}) == 2, (
        "the finalists' network of all tasks is trained whole, and costs more in an epoch"
    )


def _kept(run: Path) -> list[Path]:
    return sorted(run.glob(".networks/*/network.json"))


def test_what_cannot_be_frozen_is_refused(make_task_set: Callable[..., TaskSet], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="frozen layers are the profiled network's: expected start=profiled or auto"):
        load_config("digits", ["search.frozen=0.5", "search.start=scratch"])
    config = load_config("digits", ["search.frozen=0.5", "retrain.plans=[searched]", "model.trunk=linear"])
    index = write_parts(make_task_set(), Storage(tmp_path))
    with pytest.raises(InputError, match=r"search\.frozen split a trunk into lower and upper layers, and this one is"):
        check(config, index)
    check(set_values(config, ["search.frozen=0"]), index)
