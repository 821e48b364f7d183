"""Beside published networks: what the cards say is so, their code runs, and safetensors hold the same weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg_ray as sr
from stg_ray.artifacts.groups import Groups
from stg_ray.artifacts.run_dir import RunDir
from stg_ray.data.parts import read_index, write_parts
from stg_ray.models import load_weights
from stg_ray.retraining.cards import write_cards
from stg_ray.retraining.plans import Plan
from stg_ray.retraining.results import argmax_scores, costs_table, results_table
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import publish
from stg_ray.retraining.trial import train_network

CHOSEN = {"plan": "ours", "serving": "argmax", "seed": 1, "networks": 2}


@pytest.fixture
def run(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> RunDir:
    """A run of two groups, and of one network of all tasks, each trained twice."""
    run = RunDir(tmp_path)
    config = sr.load_config({"data": {"npz": "by hand"}, "retrain": {"lr": 5e-3, "weight_decay": 1e-4, "epochs": 2}})
    write_parts(make_task_set(), run.sub("parts"))
    run.write_config(config)
    index = read_index(run.sub("parts"))
    labels = np.arange(len(index.names))
    plans = {
        "ours": Plan(Groups.from_labels(index.names, labels % 2, "by hand"), 2),
        "all_in_one": Plan(Groups.from_labels(index.names, labels * 0, "one group"), 2),
    }
    specs = [
        NetworkSpec(name, g, tuple(members), seed=seed, draws=seed, epochs=2)
        for name, plan in plans.items()
        for g, members in enumerate(plan.groups.groups)
        for seed in (0, 1)
    ]
    for spec in specs:
        train_network(run, config, spec, device="cpu", report=lambda *_: None)
    for name, plan in plans.items():
        run.write_json(f"plans/{name}.json", plan.groups.to_dict())
    networks = publish(run, config, specs)
    run.write_parquet("results.parquet", results_table(argmax_scores(networks, plans)))
    run.write_parquet("costs.parquet", costs_table(networks))
    write_cards(run, config, index, plans, networks, CHOSEN)
    return run


def test_cards_name_the_trunk_that_was_taken(run: RunDir) -> None:
    assert run.read_config().model.trunk == "auto"
    assert "- Trunk mlp, seeds 0, 1, " in run.read_bytes("models/ours/README.md").decode()


def test_every_plan_has_a_card_with_the_mean_scores_of_its_trainings(run: RunDir, tmp_path: Path) -> None:
    results = run.read_parquet("results.parquet").to_pandas()
    results = results[(results["split"] == "test") & (results["metric"] == "average_precision")]
    means = results.groupby(["plan", "task"])["value"].mean()
    for plan in ("ours", "all_in_one"):
        card = (tmp_path / "models" / plan / "README.md").read_text()
        groups = Groups.from_dict(run.read_json(f"plans/{plan}.json"))
        for task, group in groups.serving.items():
            assert f"| {task} | binary | group-{group} | average_precision | {means[plan, task]:.4f} |" in card
        for group, members in enumerate(groups.groups):
            assert f"| group-{group}/ | {', '.join(members)} |" in card
            assert (tmp_path / "models" / plan / f"group-{group}").is_dir()
        assert "seeds 0, 1, 2 epochs" in card
        assert str(tmp_path) not in card, "no paths of this machine"


def test_the_code_of_a_card_runs_where_it_lies(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("parts", "retrain"):
        run.mark_done(stage, run.read_config(), 1.0)
    monkeypatch.chdir(tmp_path / "models/ours")
    (code,) = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(), re.DOTALL)
    index = read_index(run.sub("parts"))
    names: dict[str, Any] = {"inputs": np.zeros((3, *index.input_shape), dtype=np.float32)}
    exec(code, names)
    assert names["predictions"].array.shape == (3, len(index.names))


def test_the_chosen_networks_are_safetensors_too(run: RunDir, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from safetensors.torch import load_file

    files = sorted(tmp_path.glob("models/**/*.safetensors"))
    folders = [f"models/ours/group-{group}/seed-1" for group in (0, 1)]
    assert files == [tmp_path / folder / "network.safetensors" for folder in folders]
    for folder, file in zip(folders, files, strict=True):
        saved, expected = load_file(file), load_weights(run, f"{folder}/network.pt")
        assert saved.keys() == expected.keys()
        assert all(torch.equal(saved[name], expected[name]) for name in expected)


def test_a_damaged_card_or_copy_is_noticed(run: RunDir, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    run.mark_done("retrain", config := run.read_config(), 1.0)
    for name in ("models/ours/README.md", "models/ours/group-0/seed-1/network.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:-1])
        assert run.damaged_file("retrain", config) == name
        (tmp_path / name).write_bytes(whole)
    assert run.is_done("retrain", config)
