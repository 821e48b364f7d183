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
from stg_ray.retraining.results import Scored, argmax_scores, costs_table, results_table
from stg_ray.retraining.scoring import ensemble_scores
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.stage import publish
from stg_ray.retraining.trial import train_network

TOGETHER = "all_in_one_ensemble"
CHOSEN = {"plan": "ours", "serving": "argmax", "seed": 1, "networks": 2}


@pytest.fixture
def run(make_task_set: Callable[..., sr.TaskSet], tmp_path: Path) -> RunDir:
    """A run of two groups, of one network of all tasks, of one that trains longer, and of two that predict together;
    each is trained twice."""
    run = RunDir(tmp_path)
    config = sr.load_config({"data": {"npz": "by hand"}, "retrain": {"lr": 5e-3, "weight_decay": 1e-4, "epochs": 2}})
    write_parts(make_task_set(), run.sub("parts"))
    run.write_config(config)
    index = read_index(run.sub("parts"))
    names, labels = index.names, np.arange(len(index.names))
    one = Groups.from_labels(names, labels * 0, "one group")
    two = Groups(names, [names, names], [[0.5, 0.5]] * len(names), dict.fromkeys(names, 0), TOGETHER)
    plans = {
        "ours": Plan(Groups.from_labels(index.names, labels % 2, "by hand"), 2),
        "all_in_one": Plan(one, 2),
        "all_in_one_equal_cost": Plan(one, 4),
        TOGETHER: Plan(two, 2, ensemble=True),
    }
    specs = [
        NetworkSpec(name, g, tuple(members), seed=seed, draws=seed + 2 * g, epochs=plan.epochs)
        for name, plan in plans.items()
        for g, members in enumerate(plan.groups.groups)
        for seed in (0, 1)
    ]
    for spec in specs:
        train_network(run, config, spec, device="cpu", report=lambda *_: None)
    for name, plan in plans.items():
        run.write_json(f"plans/{name}.json", plan.groups.to_dict())
    networks = publish(run, config, specs)
    scored = argmax_scores([network for network in networks if network["plan"] != TOGETHER], plans)
    scored += [
        Scored(TOGETHER, seed, "ensemble", split, scores, two.serving)
        for seed in (0, 1)
        for split, scores in ensemble_scores(run, config, TOGETHER, seed, [], "cpu").items()
    ]
    run.write_parquet("results.parquet", results_table(scored))
    run.write_parquet("costs.parquet", costs_table(networks))
    for stage in ("parts", "retrain"):
        run.mark_done(stage, config, 1.0)
    run.write_json("chosen.json", CHOSEN)
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


def test_a_card_has_the_epochs_of_its_networks(run: RunDir) -> None:
    """Some plans train for longer than `retrain.epochs`."""
    assert "seeds 0, 1, 4 epochs. " in run.read_bytes("models/all_in_one_equal_cost/README.md").decode()
    sr.load(run.uri, "all_in_one_equal_cost").export(run.sub_uri("exported"))
    assert "seed 0, 4 epochs. " in run.read_bytes("exported/README.md").decode()


def test_a_plan_that_is_scored_as_an_ensemble_is_loaded_as_one(run: RunDir) -> None:
    """Its card says so, and so does its export."""
    index = read_index(run.sub("parts"))
    inputs = np.random.default_rng(0).normal(size=(5, *index.input_shape)).astype(np.float32)
    predictor = sr.load(run.uri, TOGETHER)
    together = predictor.predict(inputs, serving="ensemble").array
    np.testing.assert_array_equal(predictor.predict(inputs).array, together)
    assert not np.allclose(together, predictor.predict(inputs, serving="argmax").array)
    results = run.read_parquet("results.parquet").to_pandas()
    results = results[(results["split"] == "test") & (results["metric"] == "average_precision")]
    results = results[results["plan"] == TOGETHER]
    predictor.export(run.sub_uri("exported"))
    for file, own in ((f"models/{TOGETHER}", results), ("exported", results[results["seed"] == 0])):
        card = run.read_bytes(f"{file}/README.md").decode()
        for task, mean in own.groupby("task")["value"].mean().items():
            assert f"| {task} | binary | all that have it | average_precision | {mean:.4f} |" in card
    assert run.read_json("exported/serving.json")["served_by"] == "ensemble"


@pytest.mark.parametrize("serving", ["argmax", "ensemble"])
def test_the_chosen_plan_serves_as_it_was_chosen_also_by_its_name_and_another_seed(run: RunDir, serving: str) -> None:
    run.write_json("chosen.json", CHOSEN | {"serving": serving})
    run.mark_done("retrain", run.read_config(), 1.0)
    loaded = [sr.load(run.uri), sr.load(run.uri, "ours"), sr.load(run.uri, seed=0)]
    assert [predictor.serves_by for predictor in loaded] == [serving] * 3
    assert sr.load(run.uri, "all_in_one").serves_by == "argmax"


def test_the_code_of_a_card_runs_where_it_lies(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
