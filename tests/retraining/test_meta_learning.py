"""Networks that are initialisations: trained, resumed, scored, kept and refused as other networks are."""

from __future__ import annotations

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
from stg_ray.config.loading import load_config, set_values, with_settings
from stg_ray.data.parts import index_of, read_index, write_parts
from stg_ray.errors import InputError, StgRayError
from stg_ray.meta.learners import after_steps
from stg_ray.meta.network import learner_of, meta_network
from stg_ray.retraining.kept import is_finished, network_folder
from stg_ray.retraining.learning.base import Setting
from stg_ray.retraining.learning.meta import MetaLearning, check_rows
from stg_ray.retraining.specs import NetworkSpec
from stg_ray.retraining.trial import train_network
from stg_ray.tasks import TaskKind, TaskSet
from stg_ray.training.ranks import ALONE
from tests.support.families import LEARNERS, SETTINGS, sines, sorts
from tests.support.trials import Stopped, stop_after, trained


def made(settings: dict[str, Any] | None = None, **meta: Any) -> Config:
    config = with_settings({"data": {"npz": "planted"}, **SETTINGS}, settings or {})
    return with_settings(config, {"meta": meta})


def spec_of(names: list[str], **values: Any) -> NetworkSpec:
    return NetworkSpec("ours", 0, tuple(names), **{"seed": 0, "draws": 0, "epochs": 3, **values})


def laid_out(task_set: TaskSet, folder: Path) -> Storage:
    run = Storage(folder)
    write_parts(task_set, run.sub("parts"))
    return run


def mean(about: dict[str, Any], split: str, metric: str) -> float:
    return float(np.mean([scores[metric] for scores in about["scores"][split].values()]))


@pytest.mark.parametrize("learner", LEARNERS)
def test_initialisations_of_families_beat_one_for_all(tmp_path: Path, learner: str) -> None:
    tasks = sines()
    run, config = laid_out(tasks, tmp_path), made({"retrain": {"learner": learner}})
    _, of_all = trained(run, config, spec_of(tasks.names))
    _, of_family = trained(run, config, spec_of(tasks.names[::2]))
    assert mean(of_family, "test", "r2") > 0.85
    assert mean(of_family, "test", "r2") > mean(of_all, "test", "r2") + 0.2
    assert of_family["course"][of_family["best_epoch"] - 1] == max(of_family["course"])
    assert of_family["cost"] == 3 * 40 * 16 * (6 + 6) * of_family["parameters"]
    assert of_all["cost"] == of_family["cost"], "steps are as many, whatever the tasks"


@pytest.mark.parametrize(("kind", "metric"), [("binary", "roc_auc"), ("multiclass", "accuracy")])
def test_classes_are_learned(tmp_path: Path, kind: TaskKind, metric: str) -> None:
    tasks, chance = sorts(kind), {"binary": 0.5, "multiclass": 0.25}[kind]
    run = laid_out(tasks, tmp_path)
    config = made(ways=4, shots=5, queries=5, rate=0.4, steps=2, learn_rates=True)
    _, about = trained(run, config, spec_of(tasks.names[::2]))
    assert mean(about, "test", metric) > chance + 0.3
    assert set(about["scores"]["test"]) == set(tasks.names[::2])


@pytest.mark.parametrize("learner", LEARNERS)
def test_an_interrupted_training_ends_like_an_undisturbed_one(tmp_path: Path, learner: str) -> None:
    """With the optimizer's moments, the rates that are learned, and the choice of the epoch."""
    tasks, rates = sines(4), learner != "reptile"
    settings = {"retrain": {"learner": learner, "optimizer": "adamw", "clip": 1.0}}
    config = made(settings, steps_per_epoch=5, episodes=4, learn_rates=rates)
    runs = [laid_out(tasks, tmp_path / name) for name in ("whole", "stopped")]
    expected, reference = trained(runs[0], config, spec_of(tasks.names))
    with pytest.raises(Stopped):
        train_network(runs[1], config, spec_of(tasks.names), device="cpu", report=stop_after(1))
    assert not is_finished(runs[1], network_folder(spec_of(tasks.names), config))
    found, about = trained(runs[1], config, spec_of(tasks.names))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert about["scores"] == reference["scores"]
    assert any(key.startswith("log_factors") for key in expected) == rates


def test_learned_rates_are_kept_and_used(tmp_path: Path) -> None:
    tasks = sines(4)
    run, config = laid_out(tasks, tmp_path), made(learn_rates=True)
    weights, about = trained(run, config, spec_of(tasks.names[::2]))
    network = meta_network(config, read_index(run.sub("parts")), "regression", 9)
    network.load_state_dict(weights)
    rates = [float(value.exp()) for value in network.start.log_rates.values()]
    assert len(set(rates)) == len(rates), "each has become another"
    assert max(abs(rate - 0.1) for rate in rates) > 0.01
    fixed, _ = trained(run, made(), spec_of(tasks.names[::2]))
    assert not any(key.startswith("log_factors") for key in fixed)
    assert about["parameters"] == sum(value.numel() for key, value in weights.items() if "normalize" not in key)


def test_scores_are_of_the_same_episodes_as_by_hand(tmp_path: Path) -> None:
    """Support rows of the training split, query rows of the test split, values in the task's own units."""
    tasks = sines(4)
    run, config = laid_out(tasks, tmp_path), made(steps_per_epoch=2)
    spec = spec_of(tasks.names, epochs=1)
    weights, about = trained(run, config, spec)
    learning = MetaLearning(Setting.of(run, config, spec, "cpu", ALONE))
    learning.network.load_state_dict(weights)
    assert [fixed.n for fixed in learning.fixed["test"]] == [20] * 4
    assert [fixed.n for fixed in learning.fixed["val"]] == [10] * 8
    other = MetaLearning(Setting.of(run, config, replace(spec, tasks=spec.tasks[2:], draws=7), "cpu", ALONE))
    for one, again in zip(learning.fixed["test"][2:], other.fixed["test"], strict=True):
        assert torch.equal(one.draw().query, again.draw().query), "whatever the network"
    task, fixed = learning.own[1], learning.fixed["test"][1]
    episodes, start = fixed.draw(), learning.network.start
    splits = {
        name: {float(x) for x in np.asarray(tasks.inputs)[tasks.rows(name)].ravel()} for name in ("train", "test")
    }
    assert set(episodes.support.flatten().tolist()) <= splits["train"]
    assert set(episodes.query.flatten().tolist()) <= splits["test"]
    outputs = after_steps(start, learner_of(config), episodes, [1])[1][..., 0].numpy() * task.scale + task.center
    truth = episodes.query_labels.numpy() * task.scale + task.center
    r2 = 1 - np.square(outputs - truth).sum() / np.square(truth - truth.mean()).sum()
    assert about["scores"]["test"][task.name]["r2"] == pytest.approx(r2, abs=1e-4)


def test_halves_of_the_validation_rows_do_not_meet(tmp_path: Path) -> None:
    tasks = sines(2)
    run = laid_out(tasks, tmp_path)
    learning = MetaLearning(Setting.of(run, made(), spec_of(tasks.names), "cpu", ALONE))
    rows: list[set[float]] = [set(), set()]
    for fixed in learning.fixed["val"]:
        rows[fixed.half] |= set(fixed.draw().query.flatten().tolist())
    assert rows[0], "some in each"
    assert rows[1]
    assert not rows[0] & rows[1]
    assert len(learning.positions) == len(learning.outputs("val"))


def test_a_fold_is_validated_on_rows_of_its_own(tmp_path: Path) -> None:
    tasks = sines(4)
    run, config = laid_out(tasks, tmp_path), made({"retrain": {"seeds": 2, "folds": 2}}, steps_per_epoch=5)
    _, first = trained(run, config, spec_of(tasks.names))
    _, second = trained(run, config, spec_of(tasks.names, fold=1))
    assert first["scores"]["val"] != second["scores"]["val"]


def test_tasks_of_few_rows(tmp_path: Path) -> None:
    """Too few training rows are refused; too few of another split give no score, and no epoch by it."""
    inputs = np.arange(90, dtype=np.float32)[:, None]
    labels = np.full((90, 2), np.nan, dtype=np.float32)
    labels[:60, 0], labels[60:, 1] = np.sin(inputs[:60, 0]), np.cos(inputs[60:, 0])
    split = np.where(np.arange(90) % 3 == 0, "test", np.where(np.arange(90) % 3 == 1, "val", "train"))
    split[60:] = "train"
    split[60], split[61] = "val", "test"
    kinds: list[TaskKind | None] = ["regression"] * 2
    tasks = sr.TaskSet.from_arrays(inputs, labels, kinds=kinds, split=split)
    run, config = laid_out(tasks, tmp_path), made(steps_per_epoch=3)
    _, about = trained(run, config, spec_of(tasks.names))
    assert np.isfinite(about["scores"]["test"]["task_0"]["r2"])
    assert all(np.isnan(about["scores"][own]["task_1"]["r2"]) for own in ("val", "test"))
    _, alone = trained(run, config, spec_of(tasks.names[1:]))
    assert (alone["course"], alone["best_epoch"]) == ([None] * 3, 3)
    check_rows(run.sub("parts"), config)
    with pytest.raises(
        InputError, match=r"learner=maml: task 'task_0' has 20 rows: an episode needs 15 support and 6 q"
    ):
        check_rows(run.sub("parts"), made(shots=15))
    split[63:] = "test"
    few = laid_out(sr.TaskSet.from_arrays(inputs, labels, kinds=kinds, split=split), tmp_path / "few")
    with pytest.raises(
        InputError, match=r"task 'task_1' has 1 rows: an episode needs .* \(meta\), or leave the task out"
    ):
        check_rows(few.sub("parts"), config)


def test_fewer_query_rows_than_asked_for_are_taken(tmp_path: Path) -> None:
    tasks = sorts("binary", 2, rows=60)
    run = laid_out(tasks, tmp_path)
    learning = MetaLearning(Setting.of(run, made(queries=11, shots=5), spec_of(tasks.names), "cpu", ALONE))
    assert all(1 <= fixed.sampler.queries < 11 for fixed in learning.fixed["val"])
    assert learning.sampler.queries == 11


def test_a_loss_that_is_no_number_stops_with_the_tasks_name_and_the_rates(tmp_path: Path) -> None:
    tasks = sines(2)
    run, config = laid_out(tasks, tmp_path), made(rate=1e30, steps=3)
    with pytest.raises(
        StgRayError, match=r"task 'task_\d' became non-finite in epoch 1.*lower the learning rates \(meta"
    ):
        trained(run, config, spec_of(tasks.names))


def test_the_learner_and_its_settings_decide_the_network() -> None:
    spec, joint = spec_of(["a"]), load_config({"data": {"npz": "planted"}})
    prints = {spec.fingerprint(config) for config in (made(), made(steps=2), made({"retrain": {"learner": "anil"}}))}
    assert len(prints) == 3
    assert spec.fingerprint(made({"retrain": {"batch_size": 7}})) in prints, "which episodes do not have"
    with_meta = set_values(joint, ["meta.steps=7"])
    assert spec.fingerprint(joint) == spec.fingerprint(with_meta), "which joint training does not read"


REFUSED = {
    "retrain.plans=[ours,branches]": "the plan branches needs networks with heads of the tasks: leave it out",
    "retrain.plans=[greedy,ours]": "the plan greedy needs",
    "retrain.plans=[searched]": "the plan searched needs",
    "retrain.plans=[ours_soft]": "the plan ours_soft needs",
    "retrain.plans=[ours_and_all]": "the plan ours_and_all needs",
    "retrain.plans=[all_in_one_ensemble]": "the plan all_in_one_ensemble needs",
    "retrain.start=profiled": "not trained with retrain.start=profiled: set it to scratch",
    "retrain.workers=2": "not trained with retrain.workers=2: set it to 1",
    "retrain.flip=true": "not trained with retrain.flip=True: set it to False",
    "retrain.crop=2": "not trained with retrain.crop=2: set it to 0",
    "retrain.label_smoothing=0.1": "not trained with retrain.label_smoothing=0.1: set it to 0",
    "retrain.compile=true": "not trained with retrain.compile=True: set it to False",
    "tune.trials=3": "not trained with tune.trials=3: set it to 0",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_what_initialisations_do_not_have_is_refused(setting: str) -> None:
    with pytest.raises(InputError, match=r"retrain\.learner=maml trains initialisations") as caught:
        set_values(made(), [setting])
    assert REFUSED[setting] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["learn_rates", "first_order"])
def test_reptile_has_no_gradient_of_its_steps(key: str) -> None:
    with pytest.raises(InputError, match=f"leave meta.{key} out, or take maml or anil"):
        set_values(made(), ["retrain.learner=reptile", f"meta.{key}=true"])


class Normed(torch.nn.Sequential):
    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(torch.nn.Linear(shape[0], 4), torch.nn.BatchNorm1d(4))


def test_tasks_and_trunks_that_do_not_fit_are_refused() -> None:
    few = index_of(sorts("multiclass"))
    with pytest.raises(InputError, match=r"meta.ways=5, but task 'task_0' has 4 classes: choose at most as many"):
        check(made(), few)
    one, other = sorts("binary", 1), sines(1)
    mixed = replace(index_of(one), tasks=(one.tasks[0], replace(other.tasks[0], name="wave")))
    with pytest.raises(InputError, match=r"takes tasks of one kind, and 'task_0' is binary, 'wave' is regression"):
        check(made(), mixed)
    normed = made({"model": {"trunk": f"{__name__}:Normed"}})
    with pytest.raises(InputError, match="keeps statistics of batches"):
        check(normed, index_of(sines(2)))
    check(with_settings(normed, {"retrain": {"learner": "joint"}}), index_of(sines(2)))
