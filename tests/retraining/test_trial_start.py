"""Trainings that go on from the profiled network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from stg_ray.artifacts.storage import Storage
from stg_ray.config import Config
from stg_ray.config.loading import set_values
from stg_ray.data.parts import write_parts
from stg_ray.data.rows import TaskRows
from stg_ray.models import build_network, save_network
from stg_ray.retraining.kept import network_folder
from stg_ray.retraining.scoring import scores_of
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.serving import load_network
from stg_ray.tasks import TaskSet
from stg_ray.training.evaluation import evaluate
from tests.support.trials import SPEC, trained


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
